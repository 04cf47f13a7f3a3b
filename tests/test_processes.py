"""Several processes train what one would have trained; whoever asks for more than started is told."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from compress.cli.commands import app
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


def torchrun(root: Path, *command: str) -> str:
    port = ["--master-port", free_port()]
    done = launch(root, "torch.distributed.run", "--nproc-per-node", "2", *port, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


SEVERAL = """
import json, sys
from compress.cli import output
from compress.cli.commands import app
leave, output.leave = output.leave, lambda: None  # they part but once
for command in json.loads(sys.argv[1]):
    app(command, standalone_mode=False)
leave()
"""


def run_here(root: Path, *command: str) -> str:
    """What one process says; it needs not be one of its own."""
    with contextlib.chdir(root):
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.stdout


def weights(root: Path, stage: str) -> dict:
    (file,) = root.glob(f"*/*/{stage}-*/model.safetensors")
    return load_file(file)


def differ(place, one, two, stage):
    """The largest difference of any weight."""
    expected, found = weights(place / one, stage), weights(place / two, stage)
    assert expected.keys() == found.keys()
    return max((expected[name] - found[name]).abs().max().item() for name in expected)


PRETRAINED = """
[pretraining.small]
longer = { max_length = 24 }

[pretraining.small.training]
learning_rate = 2e-3
max_length = 24
bf16 = false
"""


@pytest.fixture(scope="module")
def taught(place):
    """`one` process has fine-tuned, distilled, compared layers and pretrained, and `two` have; what each of both said."""
    task, batch = ["--task", "reviews.toml", *SCHEDULE], "--per-device-train-batch-size"
    finetune = ["finetune", "tiny-bert", *task]
    said = run_here(place, *finetune, batch, "16", "--runs", "one")
    teacher = next((place / "one").glob("*/*/finetune-*")).relative_to(place).as_posix()
    weak = ["--allow-weak-teacher", *task]
    distill = ["distill", "--teacher", teacher, "--student", "tiny-albert.toml", *weak]
    layers = [
        "distill",
        "--teacher",
        "classifier",
        "--method",
        "tinybert",
        "--no-general",
        "--copies",
        "0",
        *weak,
    ]
    write_corpus(place / "corpus", documents=40)
    write_teacher(place / "pairs.toml", PRETRAINED)
    pretrain = ["pretrain", "pairs.toml", "--corpus", "corpus", "--max-steps", "12"]
    said += run_here(place, *distill, batch, "16", "--runs", "one")
    said += run_here(place, *layers, "--student", "thin-16.toml", batch, "16", "--runs", "one-layers")
    said += run_here(place, *pretrain, batch, "8", "--runs", "one")
    (place / "several.py").write_text(SEVERAL)
    commands = [
        [*finetune, batch, "8", "--runs", "two"],
        [*distill, batch, "8", "--runs", "two"],
        [*layers, "--student", "thin-8.toml", batch, "8", "--runs", "two-layers"],
        [*pretrain, batch, "4", "--runs", "two"],
    ]
    return said, torchrun(place, "several.py", json.dumps(commands))


def test_one_of_two_processes_speaks(taught):
    one, two = taught
    assert two.count("made in") == one.count("made in") == 4


@pytest.mark.usefixtures("taught")
def test_two_processes_agree_with_one(place):
    """Guards gradients that are means of unequal means, batches seen twice, and processes that run apart."""
    assert differ(place, "one", "two", "finetune") < 1e-5
    assert differ(place, "one", "two", "distill") < 1e-5
    start = load_file(place / "tiny-bert" / "model.safetensors")
    trained = weights(place / "one", "finetune")
    moved = max((start[name] - trained[f"bert.{name}"]).abs().max().item() for name in start)
    assert moved > 1e-2  # the comparison was about something


@pytest.mark.usefixtures("taught")
def test_two_processes_agree_with_one_on_layers(place):
    """Guards means over tokens that are taken of unequal shares, and projections that each process learns alone."""
    assert differ(place, "one-layers", "two-layers", "intermediate") < 1e-5
    assert differ(place, "one-layers", "two-layers", "distill") < 1e-5


@pytest.mark.usefixtures("taught")
def test_two_processes_pretrain_what_one_does(place):
    """The same masks, the same pairs, the same mean over hidden words however they fall to the two."""
    assert differ(place, "one", "two", "pretrain") < 1e-5
    tokens = [
        json.loads(next((place / store).glob("*/*/pretrain-*/run.json")).read_text())["facts"]["tokens_read"]
        for store in ("one", "two")
    ]
    assert tokens[0] == tokens[1] > 500


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
