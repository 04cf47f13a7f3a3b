"""The run directory: atomic, held by one, readable by versions that know it."""

import json
import multiprocessing

import pytest

from compress.environment import Environment
from compress.errors import CompressError
from compress.recipes.schema import Training
from compress.recipes.stages import Finetune
from compress.runs import (
    Batches,
    Evaluation,
    Run,
    Score,
    Workspace,
    content_key,
    find_runs,
    list_files,
    read_run,
    run_directory,
    write_atomically,
)
from compress.tasks import GLUE

HERE = Environment(
    python="3.11",
    system="Linux",
    cpu="x",
    cpu_flags=(),
    cpu_count=2,
    memory_bytes=1,
    device="cpu",
    gpu=None,
    versions={},
    commit=None,
)


def a_run(key="00000000", **changes):
    fields = {
        "id": f"sst2/m/finetune-{key}",
        "name": "m",
        "key": key,
        "stage": Finetune(training=Training()),
        "parents": (),
        "task": GLUE["sst2"],
        "task_name": "sst2",
        "seed": 1,
        "command": "compress finetune m --task sst2",
        "environment": HERE,
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "parameters": 1,
        "facts": {},
        "files": {},
    }
    return Run(**(fields | changes))


@pytest.fixture
def target(tmp_path):
    return run_directory(tmp_path / "runs", task="sst2", name="m", stage="finetune", key="00000000")


def make(target, content="one"):
    with Workspace.open(target) as workspace:
        (workspace.path / "model.safetensors").write_text(content)
        workspace.checkpoints.mkdir(exist_ok=True)
        return workspace.finish(a_run(files=list_files(workspace.path)))


def test_a_finished_run_reads_back_and_leaves_nothing_else(target):
    stored = make(target)
    assert read_run(target).run == stored.run
    assert sorted(path.name for path in target.iterdir()) == ["model.safetensors", "run.json"]
    assert stored.run.artefact_bytes == 3


def test_an_unfinished_directory_is_no_run(target):
    with pytest.raises(ZeroDivisionError), Workspace.open(target) as workspace:
        (workspace.path / "model.safetensors").write_text("half")
        raise ZeroDivisionError
    assert find_runs(target.parent.parent.parent) == []
    with pytest.raises(CompressError, match="no finished run"):
        read_run(target)
    make(target)
    assert len(find_runs(target.parent.parent.parent)) == 1


def test_a_redone_run_that_fails_leaves_the_old_one_whole(target):
    make(target, "one")
    with pytest.raises(ZeroDivisionError), Workspace.open(target) as workspace:
        (workspace.path / "model.safetensors").write_text("half")
        raise ZeroDivisionError
    assert (target / "model.safetensors").read_text() == "one"
    assert len(find_runs(target.parent)) == 1
    make(target, "two")
    assert (target / "model.safetensors").read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def _hold(target, ready, done):
    with Workspace.open(target):
        ready.set()
        done.wait(20)


def test_a_second_process_is_told_who_holds_the_run(target):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(target, ready, done))
    process.start()
    assert ready.wait(20)
    with pytest.raises(CompressError, match=f"pid {process.pid}"), Workspace.open(target):
        pass
    done.set()
    process.join()
    with Workspace.open(target):
        pass


def test_a_newer_schema_is_refused_with_a_message(target):
    make(target)
    content = json.loads((target / "run.json").read_text())
    (target / "run.json").write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(CompressError, match="schema version 99"):
        read_run(target)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema_version": 1}'])
def test_a_damaged_record_is_told(target, damage):
    make(target)
    (target / "run.json").write_text(damage)
    with pytest.raises(CompressError, match="damaged"):
        read_run(target)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \udcff")
    assert file.read_text() == "old"


def test_keys_do_not_depend_on_the_order_of_names():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_a_read_only_store_is_told(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file where a directory should be")
    with pytest.raises(CompressError, match="cannot be written"), Workspace.open(tmp_path / "runs" / "x"):
        pass


def test_an_unlabelled_split_has_no_primary_score():
    """Guards an IndexError: GLUE's AX and the test splits are predicted, not scored."""
    score = Score(name="accuracy", value=0.5, n=2, low=0.0, high=1.0)
    fields = {
        "key": "0" * 8,
        "run": "r",
        "task": "ax",
        "split": "test",
        "data": "0" * 8,
        "engine": "pytorch",
        "batches": Batches(size=32, order="length", max_length=64),
        "truncated": 0,
        "predictions": "0.parquet",
        "environment": HERE,
    }
    assert Evaluation(scores=(), **fields).primary is None
    assert Evaluation(scores=(score,), **fields).primary == score
