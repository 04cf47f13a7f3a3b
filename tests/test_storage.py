"""The disk is full, the store cannot be written, two processes want one run: told in one message, nothing lost."""

import contextlib
import errno
import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.errors import CompressError
from compress.runs import find_runs, write_atomically
from compress.storage import find_failed_write, require_space, require_writable, telling_failed_writes
from compress.workspace import Workspace
from tests.conftest import tiny_config

TRAINING = ("--max-steps", "2", "--max-length", "16", "--no-bf16", "--per-device-train-batch-size", "8")


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    from transformers import AutoModel, AutoModelForSequenceClassification, set_seed

    from tests.conftest import write_task

    root = tmp_path_factory.mktemp("house")
    set_seed(0)
    config = tiny_config("bert", tokenizer, id2label={0: "bad", 1: "good"})
    AutoModel.from_config(config).save_pretrained(root / "encoder")
    AutoModelForSequenceClassification.from_config(config).save_pretrained(root / "classifier")
    for name in ("encoder", "classifier"):
        tokenizer.save_pretrained(root / name)
    write_task(root, train=40, validation=20)
    return root


@contextlib.contextmanager
def files_of_at_most(limit):
    """The kernel refuses whatever would make a file larger: a disk that is full, for all that a program can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit_while(monkeypatch, function, limit):
    """The disk is full from the moment that `module.function` is called until it ends."""
    module, _, name = function.rpartition(".")
    module = importlib.import_module(f"compress.{module}")
    inner = getattr(module, name)

    def limited(*arguments, **options):
        with files_of_at_most(limit):
            return inner(*arguments, **options)

    monkeypatch.setattr(module, name, limited)


def compress(*arguments, store):
    return CliRunner().invoke(app, [*arguments, "--runs", str(store)])


FINETUNE = ("finetune", "encoder", "--task", "reviews.toml", *TRAINING)
QUANTIZE = ("quantize", "classifier", "--task", "reviews.toml")


@pytest.mark.parametrize(
    ("where", "function", "limit", "command"),
    [
        ("checkpoint's weights", "making.finetune_encoder", 20_000, FINETUNE),
        ("checkpoint's optimizer", "making.finetune_encoder", 120_000, FINETUNE),
        ("final weights", "making.save_encoder", 20_000, FINETUNE),
        ("configuration", "making.save_encoder", 200, FINETUNE),
        ("predictions", "pipeline.evaluate", 500, FINETUNE),
        ("card", "pipeline.write_atomically", 100, FINETUNE),
        ("record", "workspace.write_record", 100, FINETUNE),
        ("graph", "quantization.onnx.write_graph", 5_000, QUANTIZE),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) and "." not in value else "",
)
def test_a_full_disk_is_one_message_and_no_run(where, function, limit, command, house, tmp_path, monkeypatch):
    """Guards a torn artefact that looks finished."""
    monkeypatch.chdir(house)
    store = tmp_path / "runs"
    limit_while(monkeypatch, function, limit)
    done = compress(*command, store=store)
    assert done.exit_code == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    assert "failed: " in errors[0], done.stderr
    assert "--runs DIR" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.output
    assert "fault of compress" not in done.stderr
    assert done.stdout == ""
    assert find_runs(store) == []
    left = {path.relative_to(store).parts[3:] for path in store.rglob("*") if path.is_file()}
    assert all(parts[0] in ("checkpoints", ".lock") for parts in left), left
    assert bool(left) == (where in ("final weights", "configuration", "predictions", "card", "record"))
    # Half a checkpoint is dropped, a whole one is there to resume from.
    for checkpoint in store.rglob("checkpoint-*"):
        assert (checkpoint / ".complete").exists()


def test_a_run_that_ran_out_of_room_goes_on_from_its_checkpoint(house, tmp_path, monkeypatch):
    monkeypatch.chdir(house)
    store = tmp_path / "runs"
    with monkeypatch.context() as full:
        limit_while(full, "making.save_encoder", 20_000)
        assert compress(*FINETUNE, store=store).exit_code == 1
    done = compress(*FINETUNE, "--json", store=store)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["facts"]["resumed_from_step"] == 2


SLOW = """
import sys, time
from transformers import TrainerCallback
import compress.training as training
from compress.cli.commands import app
def wait(self, *arguments, **options):
    print("training", file=sys.stderr, flush=True)
    sys.stdin.readline()
training.Heartbeat.on_train_begin = wait
app(sys.argv[1:])
"""


def test_the_second_of_two_commands_is_told_who_holds_the_run_and_the_first_finishes(
    house, tmp_path, monkeypatch
):
    monkeypatch.chdir(house)
    store = tmp_path / "runs"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        [sys.executable, "-c", SLOW, *FINETUNE, "--runs", str(store)],
        cwd=house,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any(line.strip() == "training" for line in first.stderr), "the first never came to train"
        before = sorted(store.rglob("*"))
        second = compress(*FINETUNE, store=store)
        assert second.exit_code == 1, second.stderr
        assert f"(pid {first.pid})" in second.stderr
        assert second.stderr.count("Error: ") == 1
        assert "Traceback" not in second.stderr
        assert sorted(store.rglob("*")) == before
        _, rest = first.communicate("go\n", timeout=120)
    finally:
        first.kill()
    assert first.returncode == 0, rest
    assert len(find_runs(store)) == 1


@pytest.mark.parametrize(
    "command", [FINETUNE, QUANTIZE, ("evaluate", "classifier", "--task", "reviews.toml")]
)
def test_a_store_below_a_file_is_told_before_any_weights_are_read(command, house, tmp_path, monkeypatch):
    """Root may write everywhere, so a directory without write permission proves nothing there; this does."""
    from compress import encoder

    def refuse(*_, **__):
        raise AssertionError("the weights were read before the store was tried")

    monkeypatch.setattr(encoder, "load_weights", refuse)
    monkeypatch.chdir(house)
    (tmp_path / "somefile").write_text("")
    result = CliRunner().invoke(app, [*command, "--runs", str(tmp_path / "somefile" / "x")])
    assert result.exit_code == 1
    assert "somefile" in result.stderr
    assert "--runs DIR" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["somefile"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(CompressError, match="read-only"):
        require_writable(tmp_path / "runs")
    with pytest.raises(CompressError, match="cannot be written"), Workspace.open(tmp_path / "runs" / "x"):
        pass


def test_a_read_only_store_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as the kernel answers for a read-only disk
    with pytest.raises(CompressError, match="read-only"):
        require_writable(tmp_path / "a" / "b")


def test_room_is_asked_for_before_the_work(tmp_path):
    require_space(tmp_path / "not" / "yet" / "there", 1000)
    with pytest.raises(CompressError, match=r"about 1000000000\.0 GB in .*runs, and .* are free") as caught:
        require_space(tmp_path / "runs", 10**18)
    assert "--runs DIR" in caught.value.fix


def test_training_asks_for_the_room_of_its_checkpoints(house, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    from compress import making

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**5, 10**5))
    monkeypatch.setattr(making, "finetune_encoder", lambda *_, **__: pytest.fail("training began"))
    monkeypatch.chdir(house)
    result = CliRunner().invoke(app, [*FINETUNE, "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 1
    assert "0.1 MB are free" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path):
    file = tmp_path / "a.json"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \udcff")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_every_library_s_failed_write_is_known_and_nothing_else_is_taken_for_one():
    from safetensors import SafetensorError

    assert find_failed_write(OSError(errno.ENOSPC, "x", "f")) == os.strerror(errno.ENOSPC)
    assert find_failed_write(
        RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")
    )
    assert "File too large" in find_failed_write(
        SafetensorError("Error while serializing: I/O error: File too large (os error 27)")
    )
    for other in (FileNotFoundError(errno.ENOENT, "x"), RuntimeError("x"), SafetensorError("invalid header")):
        assert find_failed_write(other) is None
    with pytest.raises(KeyError), telling_failed_writes(Path()):
        raise KeyError("passed on as it is")
