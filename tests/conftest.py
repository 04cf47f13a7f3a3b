"""Tiny models and a tiny task, built in code: nothing is downloaded, nothing takes long."""

import contextlib
import csv
import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    ElectraConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from compress import exporting, workers
from compress.memory import peak_bytes
from tests.alone import Python
from tests.traces import keep_traces

disable_progress_bar()

FAMILIES = ("bert", "roberta", "electra", "albert")
GOOD = ("lovely", "bright", "warm", "witty", "tender")
BAD = ("dull", "grim", "stale", "clumsy", "cold")
FILLER = (
    "the",
    "a",
    "film",
    "story",
    "plot",
    "scene",
    "music",
    "is",
    "was",
    "and",
    "very",
    "so",
    "with",
    "of",
    ".",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


LONG = ("test_readme", "test_interruption", "test_processes", "test_workers", "test_end_to_end")
"""Files of few tests that take minutes: two processes share the files, and whoever begins one of these last ends last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process of tests ended that was lost: xdist itself does not."""
    if error:
        process = node.gateway._io.popen
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        sys.stderr.write(f"\n{node.gateway.id} ended with status {process.returncode}\n")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    vocab = {piece: number for number, piece in enumerate((*SPECIAL, *GOOD, *BAD, *FILLER, "##ly", "##s"))}
    core = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=64,
    )


def tiny_config(family: str, tokenizer: PreTrainedTokenizerBase, **changes: object) -> PretrainedConfig:
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 48,
        "max_position_embeddings": 66,
        "pad_token_id": tokenizer.pad_token_id,
        "type_vocab_size": 2,
    }
    kinds = {"bert": BertConfig, "roberta": RobertaConfig, "electra": ElectraConfig, "albert": AlbertConfig}
    if family in ("electra", "albert"):
        shape["embedding_size"] = 16
    return kinds[family](**(shape | changes))


@pytest.fixture
def tiny_model(tokenizer: PreTrainedTokenizerBase):
    """family → a base model of it, random weights."""

    def build(family: str, **changes: object) -> PreTrainedModel:
        set_seed(0)
        return AutoModel.from_config(tiny_config(family, tokenizer, **changes))

    return build


@pytest.fixture
def teacher_directory(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, tiny_model) -> Path:
    """A pretrained (well, random) BERT without a classifier, in Hugging Face format."""
    directory = tmp_path / "tiny-bert"
    tiny_model("bert", max_position_embeddings=130).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory, tokenizer: PreTrainedTokenizerBase) -> dict[str, Path]:
    """Engine → a classifier for it, big enough for its products to be shared among threads."""
    from compress.encoder import Encoder, model_inputs, save_encoder
    from compress.exporting import export_onnx

    root = tmp_path_factory.mktemp("artefacts")
    sizes = {"hidden_size": 192, "intermediate_size": 768, "max_position_embeddings": 64}
    model = AutoModelForSequenceClassification.from_config(tiny_config("bert", tokenizer, **sizes)).eval()
    for engine in ("pytorch", "onnxruntime"):
        save_encoder(Encoder(model, tokenizer), root / engine, max_length=64)
    (root / "onnxruntime" / "model.safetensors").unlink()
    export_onnx(model, root / "onnxruntime" / "model.onnx", input_names=model_inputs(tokenizer))
    return {engine: root / engine for engine in ("pytorch", "onnxruntime")}


STUDENT = """
description = "tiny"
family = "albert"

[architecture]
num_hidden_layers = 2
hidden_size = 32
num_attention_heads = 2
intermediate_size = 64
embedding_size = 16
max_position_embeddings = 64
share = "all"
hidden_dropout_prob = 0.0
attention_probs_dropout_prob = 0.1

[distill.logits]
terms = [{ loss = "soft", temperature = 2.0 }]

[training]
learning_rate = 5e-3
num_train_epochs = 8
per_device_train_batch_size = 16
early_stopping_patience = 9
max_length = 32
bf16 = false
"""


TEACHER = """
description = "tiny"
family = "{family}"
vocab_size = 330

[source]
kind = "here"

[architecture]
num_hidden_layers = 2
hidden_size = 36
num_attention_heads = 3
intermediate_size = 48
"""
EMBEDDED = {"albert": 'share = "all"\nembedding_size = 16\n', "electra": "embedding_size = 16\n"}


def write_teacher(file: Path, more: str = "", *, family: str = "bert") -> Path:
    """A teacher's recipe that is nowhere published; what follows the shape's table goes on in it, or in another."""
    file.write_text(TEACHER.format(family=family) + EMBEDDED.get(family, "") + more, encoding="utf-8")
    return file


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    file = tmp_path / "students" / "tiny-albert.toml"
    file.parent.mkdir()
    file.write_text(STUDENT)
    return file


def write_reviews(file: Path, count: int, *, seed: int) -> None:
    """Sentences whose label a word gives away."""
    draw = random.Random(seed)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["review", "verdict"])
        for _ in range(count):
            good = draw.random() < 0.6
            words = draw.choices(FILLER, k=draw.randint(2, 14))
            words.insert(draw.randrange(len(words)), draw.choice(GOOD if good else BAD))
            writer.writerow([" ".join(words), "good" if good else "bad"])


def write_task(
    folder: Path, *, train: int, validation: int, metrics: tuple[str, ...] = ("accuracy",)
) -> Path:
    """A user's own task: two CSV files of so many rows and a TOML file, whose path is returned."""
    write_reviews(folder / "train.csv", train, seed=1)
    write_reviews(folder / "validation.csv", validation, seed=2)
    file = folder / "reviews.toml"
    file.write_text(
        'kind = "classification"\ntrain = "train.csv"\nvalidation = "validation.csv"\n'
        f'text = ["review"]\nlabel = "verdict"\nmetrics = {json.dumps(metrics)}\n'
    )
    return file


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    return write_task(tmp_path, train=240, validation=100, metrics=("accuracy", "macro_f1"))


def write_corpus(folder: Path, *, documents: int = 12, seed: int = 3) -> Path:
    """Unlabelled documents of a few paragraphs: two as plain text, the others in one JSON Lines file."""
    draw = random.Random(seed)
    texts = [
        "\n".join(" ".join(draw.choices((*FILLER, *GOOD, *BAD), k=draw.randint(9, 30))) for _ in range(4))
        for _ in range(documents)
    ]
    folder.mkdir()
    for number, text in enumerate(texts[:2]):
        (folder / f"{number}.txt").write_text(text)
    (folder / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[2:]))
    return folder


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


class WorkerHere:
    """A worker that is no process, for tests of what is done with timings: starting one takes ten seconds."""

    def __init__(self, path: Path, *, name: str, threads: int) -> None:
        self.name = name
        self._path, self._threads = path, threads

    def wait(self) -> None: ...

    def load(self) -> Any:
        self._predictor, loaded = workers._load(self._path, self._threads)
        return loaded

    def take_turn(self, work: Any) -> Any:
        return workers._take_turn(self._predictor, work)

    def profile(self, work: Any) -> Any:
        return workers._profile(self._predictor, work)

    def peak_bytes(self) -> int:
        return peak_bytes()

    def device_peak_bytes(self) -> None: ...

    def __enter__(self) -> "WorkerHere":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def workers_here(monkeypatch):
    monkeypatch.setattr("compress.measurement.Worker", WorkerHere)
    monkeypatch.setattr(workers, "SECONDS_A_TURN", 0.01)


@pytest.fixture(autouse=True, scope="session")
def _traced_once(tmp_path_factory):
    """An architecture is traced once in all processes of tests, but for the tests of just that."""
    room = tmp_path_factory.getbasetemp()
    folder = (room.parent if "PYTEST_XDIST_WORKER" in os.environ else room) / "traces"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_trace", keep_traces(exporting._trace, folder))
        yield


@pytest.fixture(scope="session")
def alone():
    """Runs programs in processes of their own."""
    with Python() as python:
        yield python


@pytest.fixture(autouse=True)
def _heard_again():
    """A command that ran in this process, perhaps for a whole module, keeps what is logged from pytest."""
    logger = logging.getLogger("compress")
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
