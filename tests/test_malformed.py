"""Hundreds of malformed inputs, each through the real command: one clear error, and nothing left behind."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from tests.conftest import STUDENT, tiny_config, write_reviews
from tests.malformed import KINDS, collect_cases
from tests.malformed.cases import to_toml
from tests.malformed.models import make_graph
from tests.malformed.tasks import TASK

CASES = collect_cases()
REWRITTEN = ("openvino", "quanto", "bnb")
LEAST = {"teacher": 50, "student": 50, "task": 50, "data": 100, "model": 60}


@pytest.fixture(scope="session")
def sound(tmp_path_factory, tokenizer):
    """What is as it should be: an encoder, classifiers, a graph, a student, a task and its data."""
    from transformers import AutoModel, AutoModelForSequenceClassification, set_seed

    root = tmp_path_factory.mktemp("sound")
    set_seed(0)
    config = tiny_config("bert", tokenizer)
    AutoModel.from_config(config).save_pretrained(root / "encoder")
    for name, labels in (("classifier", ("bad", "good")), ("three-labels", ("bad", "good", "meh"))):
        config = tiny_config("bert", tokenizer, id2label=dict(enumerate(labels)))
        AutoModelForSequenceClassification.from_config(config).save_pretrained(root / name)
    (root / "graph").mkdir()
    (root / "graph" / "config.json").write_text((root / "classifier" / "config.json").read_text())
    (root / "graph" / "model.onnx").write_bytes(make_graph())
    _rewrite(root, tokenizer)
    for name in ("encoder", "classifier", "three-labels", "graph", *REWRITTEN):
        tokenizer.save_pretrained(root / name)
    (root / "student.toml").write_text(STUDENT)
    (root / "folder.csv").mkdir()
    (root / "train.xlsx").write_bytes(b"PK")
    (root / "train").write_text("review,verdict\n")
    write_reviews(root / "train.csv", 40, seed=1)
    write_reviews(root / "validation.csv", 20, seed=2)
    fields = {**TASK, "train": "train.csv", "validation": "validation.csv"}
    (root / "reviews.toml").write_text(to_toml(fields))
    return root


def _rewrite(root, tokenizer):
    """The classifier in other formats: OpenVINO's (a graph that answers with zeros), quanto's and bitsandbytes'."""
    from compress.encoder import Encoder, load_classifier, load_config
    from compress.parity import random_batches
    from compress.quantization.bnb import quantize_bnb
    from compress.quantization.quanto import quantize_weights

    for name in REWRITTEN:
        (root / name).mkdir()
        shutil.copy(root / "classifier" / "config.json", root / name)
    config = load_config(root / "classifier")
    encoder = Encoder(load_classifier(root / "classifier", config), tokenizer)
    quantize_weights(encoder, root / "quanto", weights="qint8", parity_bound=3.0)
    batches = random_batches(config, tokenizer.model_input_names)
    quantize_bnb(encoder, root / "bnb", weights="int8", batches=batches, parity_bound=3.0)
    import openvino

    graph = openvino.Core().read_model(root / "graph" / "model.onnx")
    openvino.save_model(graph, root / "openvino" / "openvino_model.xml", compress_to_fp16=False)


@pytest.fixture
def place(sound, tmp_path, monkeypatch):
    (tmp_path / "sound").symlink_to(sound)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(directory):
    """Every path and its size, links not followed."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = Path(folder) / name
            found[path] = path.lstat().st_size if name in files else None
    return found


def run(*arguments):
    return CliRunner().invoke(app, [*arguments, "--runs", "runs"])


def test_there_are_enough_cases_of_each_kind():
    """Guards a sweep that shrinks unseen: a generator that yields nothing passes every test."""
    counts = Counter(case.kind for case in CASES)
    assert set(counts) == set(KINDS) == set(LEAST)
    assert all(counts[kind] >= least for kind, least in LEAST.items()), counts
    assert len(CASES) >= 200
    assert len({(case.kind, case.id) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}: {case.id}" for case in CASES])
def test_a_malformed_input_is_one_clear_error(case, place):
    case.spoil(place)
    before = tree(place)
    result = run(*case.arguments)
    lines = result.stderr.splitlines()
    assert result.exit_code in (1, 2), result.stderr
    assert [line.startswith("Error: ") for line in lines].count(True) == 1, result.stderr
    problem = result.stderr[result.stderr.index("Error: ") :].strip().splitlines()
    assert len(problem) >= 2, result.stderr
    assert len(problem[-1].split()) >= 3  # the fix
    assert not problem[-1].startswith(" ")
    assert "Traceback" not in result.output
    assert "fault of compress" not in result.stderr, result.stderr
    assert result.stdout == ""
    for mention in case.mentions:
        assert mention in result.stderr, result.stderr
    assert tree(place) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "finetune",
            "sound/encoder",
            "--task",
            "sound/reviews.toml",
            "--max-steps",
            "1",
            "--max-length",
            "16",
        ),
        ("predict", "sound/classifier", "a lovely film"),
        ("predict", "sound/graph", "a lovely film"),
        ("predict", "sound/openvino", "a lovely film"),
        ("predict", "sound/quanto", "a lovely film"),
        ("predict", "sound/bnb", "a lovely film"),
        ("evaluate", "sound/classifier", "--task", "sound/reviews.toml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_what_is_sound_is_taken(arguments, place):
    """Guards a sweep in which everything fails for one and the same reason."""
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr


def test_a_validation_file_without_labels_is_predicted_and_not_scored(place):
    """Guards an int of −1 that is scored as a class, and early stopping on nothing."""
    text = (place / "sound" / "validation.csv").read_text().replace(",good", ",-1").replace(",bad", ",-1")
    (place / "unlabelled.csv").write_text(text)
    (place / "own.toml").write_text(to_toml({**TASK, "validation": "unlabelled.csv"}))
    arguments = ("finetune", "sound/encoder", "--task", "own.toml", "--max-steps", "1", "--max-length", "16")
    refused = run(*arguments, "--select-on", "validation")
    assert refused.exit_code == 2
    assert "nothing can be selected on it" in refused.stderr
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    [evaluation] = json.loads(done.stdout)["evaluations"]
    assert evaluation["scores"] == []
    page = run("report", json.loads(done.stdout)["path"], "--output-dir", "page")
    assert "fault of compress" not in page.stderr, page.stderr
