"""Killed at any moment and started again, a run ends in the weights of an undisturbed one."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.alone import FORKED
from tests.conftest import STUDENT, tiny_config, write_corpus, write_task, write_teacher

KILLS = 8
KILLS_OF_PRETRAINING = 5


def work(root: str, arguments: list[str]) -> None:
    """The life of a process that may be killed: one command."""
    import torch

    from compress import training
    from compress.cli.commands import app

    training.STEPS_BETWEEN_LOOKS = 8  # what is judged by its loss leaves a checkpoint as often
    os.chdir(root)
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.stdout = sys.stderr = Path("log.txt").open("a")  # noqa: SIM115
    torch.set_num_threads(1)
    app(arguments)


def start(root: Path, arguments: list[str]):
    process = FORKED.Process(target=work, args=(str(root), arguments))
    process.start()
    return process


def run_through(root: Path, arguments: list[str]) -> float:
    before = time.monotonic()
    process = start(root, arguments)
    process.join()
    assert process.exitcode == 0, (root / "log.txt").read_text()
    return time.monotonic() - before


def weights_of(store: Path, stage: str) -> bytes:
    (file,) = store.glob(f"*/*/{stage}-*/model.safetensors")
    assert not (file.parent / "checkpoints").exists()
    assert (file.parent / "run.json").is_file()
    return file.read_bytes()


def has_resumed(root: Path) -> bool:
    return "resuming from" in (root / "log.txt").read_text()


@pytest.fixture(scope="module", autouse=True)
def server():
    """Started before any run is timed: its imports are no part of a run's life, in which kills are drawn."""
    process = FORKED.Process(target=time.sleep, args=(0,))
    process.start()
    process.join()


@pytest.fixture
def place(tmp_path, tokenizer):
    """A tiny model and student, both with dropout, and their task."""
    from transformers import AutoModel, set_seed

    set_seed(0)
    AutoModel.from_config(tiny_config("bert", tokenizer)).save_pretrained(tmp_path / "tiny-bert")
    tokenizer.save_pretrained(tmp_path / "tiny-bert")
    (tmp_path / "tiny-albert.toml").write_text(STUDENT)
    thin = STUDENT.replace("hidden_size = 32", "hidden_size = 36")
    (tmp_path / "thin.toml").write_text(
        thin.replace("num_attention_heads = 2", "num_attention_heads = 3") + GENERAL_SCHEDULE
    )
    write_teacher(tmp_path / "pairs.toml", PRETRAINED.format(copies=2))
    write_teacher(tmp_path / "replaced.toml", PRETRAINED.format(copies=0), family="electra")
    write_corpus(tmp_path / "corpus", documents=40)
    write_task(tmp_path, train=240, validation=50)
    return tmp_path


GENERAL_SCHEDULE = """
[distill.tinybert.small.general.training]
max_steps = 48
per_device_train_batch_size = 8
max_length = 24
bf16 = false
"""
SCHEDULE = ["--task", "reviews.toml", "--num-train-epochs", "6", "--no-bf16", "--max-length", "32"]
FINETUNE = [
    "finetune",
    "tiny-bert",
    *SCHEDULE,
    "--learning-rate",
    "5e-3",
    "--per-device-train-batch-size",
    "16",
]
FINETUNE += ["--early-stopping-patience", "9"]
DISTILL = ["distill", "--teacher", "teacher", "--student", "tiny-albert.toml", *SCHEDULE]
GENERAL = [
    "distill",
    "--teacher",
    "tiny-bert",
    "--student",
    "thin.toml",
    "--corpus",
    "corpus",
    "--method",
    "tinybert",
]


PRETRAINED = """
[pretraining.small]
dropout = 0.1
static_copies = {copies}
longer = {{ max_length = 24 }}
tokenizer = {{ vocab_size = 330 }}
max_tokens = 5000

[pretraining.small.training]
per_device_train_batch_size = 8
max_length = 24
bf16 = false
"""


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("finetune", FINETUNE),
        ("distill", DISTILL),
        ("general", GENERAL),
        ("pretrain", ["pretrain", "pairs.toml", "--corpus", "corpus"]),
        ("pretrain", ["pretrain", "replaced.toml", "--corpus", "corpus"]),
    ],
    ids=["finetune", "distill", "general", "pretrain pairs", "pretrain with a generator"],
)
def test_kills_change_nothing(place, stage, command):
    if stage == "distill":
        run_through(place, [*FINETUNE, "--runs", "teachers-runs", "--save-to", "teacher"])
    seconds = run_through(place, [*command, "--runs", "undisturbed"])
    expected = weights_of(place / "undisturbed", stage)
    draw = random.Random(stage)
    kills, wanted = 0, KILLS_OF_PRETRAINING if stage == "pretrain" else KILLS
    while kills < wanted or not (has_resumed(place) or kills > 5 * wanted):
        process = start(place, [*command, "--runs", "killed"])
        process.join(
            timeout=draw.uniform(0, seconds * (1 + kills // wanted))
        )  # later, if none came late enough
        process.kill()  # nothing, where it has ended by itself meanwhile
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it lived to the end: compare, and let the next one begin anew
            assert process.exitcode == 0, (place / "log.txt").read_text()
            assert weights_of(place / "killed", stage) == expected
            shutil.rmtree(place / "killed")
    run_through(place, [*command, "--runs", "killed"])
    assert weights_of(place / "killed", stage) == expected
    assert has_resumed(place)
