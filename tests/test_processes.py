"""Several processes train what one would have trained; whoever asks for more than started is told."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from compress.errors import InvalidInputError
from compress.processes import require_all_started
from tests.conftest import STUDENT, tiny_config, write_corpus, write_task, write_teacher

ROOT = Path(__file__).parent.parent
SCHEDULE = ["--num-train-epochs", "3", "--no-bf16", "--max-length", "32", "--learning-rate", "2e-3"]
INTERMEDIATE = """
[distill.tinybert.small.intermediate.training]
num_train_epochs = 2
learning_rate = 2e-3
max_length = 32
bf16 = false
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer):
    """A tiny model and student without dropout, and a task whose last batch divides unevenly among two."""
    from transformers import AutoModel, AutoModelForSequenceClassification, set_seed

    root = tmp_path_factory.mktemp("processes")
    set_seed(0)
    config = tiny_config("bert", tokenizer, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    AutoModel.from_config(config).save_pretrained(root / "tiny-bert")
    tokenizer.save_pretrained(root / "tiny-bert")
    (root / "tiny-albert.toml").write_text(
        STUDENT.replace("attention_probs_dropout_prob = 0.1", "attention_probs_dropout_prob = 0.0")
    )
    labels = {"id2label": {0: "bad", 1: "good"}, "initializer_range": 0.3, "num_hidden_layers": 4}
    config = tiny_config(
        "bert", tokenizer, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **labels
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(root / "classifier")
    tokenizer.save_pretrained(root / "classifier")
    for size in (8, 16):
        (root / f"thin-{size}.toml").write_text(
            (root / "tiny-albert.toml")
            .read_text()
            .replace("hidden_size = 32", "hidden_size = 36")
            .replace("num_attention_heads = 2", "num_attention_heads = 3")
            + INTERMEDIATE
            + f"per_device_train_batch_size = {size}\n"
        )
    write_task(root, train=241, validation=50)  # 217 after the hold-out: the last batch has 9 rows
    return root


def launch(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("COMPRESS_", "MASTER_"))
    }
    path = f"{ROOT}{os.pathsep}{kept.get('PYTHONPATH', '')}"
    environment = kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | variables
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def torchrun(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    port = ["--master-port", free_port()]
    return launch(root, "torch.distributed.run", "--nproc-per-node", "2", *port, "-m", "compress", *command)


def weights(root: Path, stage: str) -> dict:
    (file,) = root.glob(f"*/*/{stage}-*/model.safetensors")
    return load_file(file)


def test_two_processes_pretrain_what_one_does(place):
    """The same masks, the same pairs, the same mean over hidden words however they fall to the two."""
    write_corpus(place / "corpus", documents=40)
    write_teacher(place / "pairs.toml", PRETRAINED)
    pretrain = ["pretrain", "pairs.toml", "--corpus", "corpus", "--max-steps", "12"]
    alone = launch(place, "compress", *pretrain, "--per-device-train-batch-size", "8", "--runs", "first")
    assert alone.returncode == 0, alone.stderr
    both = torchrun(place, *pretrain, "--per-device-train-batch-size", "4", "--runs", "second")
    assert both.returncode == 0, both.stderr
    expected, found = weights(place / "first", "pretrain"), weights(place / "second", "pretrain")
    assert max((expected[name] - found[name]).abs().max().item() for name in expected) < 1e-5
    tokens = [
        json.loads(next((place / store).glob("*/*/pretrain-*/run.json")).read_text())["facts"]["tokens_read"]
        for store in ("first", "second")
    ]
    assert tokens[0] == tokens[1] > 500


PRETRAINED = """
[pretraining.small]
longer = { max_length = 24 }

[pretraining.small.training]
learning_rate = 2e-3
max_length = 24
bf16 = false
"""


def test_two_processes_agree_with_one(place):
    """Guards gradients that are means of unequal means, batches seen twice, and processes that run apart."""
    task = ["--task", "reviews.toml", *SCHEDULE]
    finetune = ["finetune", "tiny-bert", *task]
    alone = launch(place, "compress", *finetune, "--per-device-train-batch-size", "16", "--runs", "one")
    assert alone.returncode == 0, alone.stderr
    teacher = next((place / "one").glob("*/*/finetune-*")).relative_to(place).as_posix()
    distill = [
        "distill",
        "--teacher",
        teacher,
        "--student",
        "tiny-albert.toml",
        "--allow-weak-teacher",
        *task,
    ]
    alone = launch(place, "compress", *distill, "--per-device-train-batch-size", "16", "--runs", "one")
    assert alone.returncode == 0, alone.stderr
    for command in (finetune, distill):
        both = torchrun(place, *command, "--per-device-train-batch-size", "8", "--runs", "two")
        assert both.returncode == 0, both.stderr
        assert both.stdout.count("made in") == 1  # one of them speaks
        expected, found = weights(place / "one", command[0]), weights(place / "two", command[0])
        assert expected.keys() == found.keys()
        assert max((expected[name] - found[name]).abs().max().item() for name in expected) < 1e-5
    start = load_file(place / "tiny-bert" / "model.safetensors")
    trained = weights(place / "one", "finetune")
    moved = max((start[name] - trained[f"bert.{name}"]).abs().max().item() for name in start)
    assert moved > 1e-2  # the comparison was about something


def test_two_processes_agree_with_one_on_layers(place):
    """Guards means over tokens that are taken of unequal shares, and projections that each process learns alone."""
    words = ["distill", "--teacher", "classifier", "--method", "tinybert", "--no-general", "--copies", "0"]
    words += ["--allow-weak-teacher", "--task", "reviews.toml", *SCHEDULE]
    batch = "--per-device-train-batch-size"
    alone = launch(place, "compress", *words, "--student", "thin-16.toml", batch, "16", "--runs", "alone")
    assert alone.returncode == 0, alone.stderr
    both = torchrun(place, *words, "--student", "thin-8.toml", batch, "8", "--runs", "both")
    assert both.returncode == 0, both.stderr
    for stage in ("intermediate", "distill"):
        expected, found = weights(place / "alone", stage), weights(place / "both", stage)
        assert expected.keys() == found.keys()
        assert max((expected[name] - found[name]).abs().max().item() for name in expected) < 1e-5


def test_accelerate_launch_that_starts_one_process_is_told(place):
    """`accelerate launch --cpu --num_processes 2` starts a single process and says nothing of it."""
    launcher = ["accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = launch(
        place, *launcher, "-m", "compress", "finetune", "tiny-bert", "--task", "reviews.toml", *SCHEDULE
    )
    assert done.returncode != 0
    assert "2 processes were asked for" in done.stderr
    assert "torchrun --nproc-per-node 2" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_SIZE": "4"},
        {"SLURM_STEP_NUM_TASKS": "4"},
        {"WORLD_SIZE": "4", "RANK": "1"},
    ],
)
def test_launchers_that_do_not_join_their_processes_are_told(environment):
    with pytest.raises(InvalidInputError, match="4 processes were asked for"):
        require_all_started(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OMPI_COMM_WORLD_SIZE": "1"},
        {"MASTER_ADDR": "10.0.0.1"},  # left over in a shell: this process's parent launches nothing
        {"OMPI_COMM_WORLD_SIZE": "4", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"},
    ],
)
def test_whoever_gets_what_he_asked_for_hears_nothing(environment):
    require_all_started(environment)
