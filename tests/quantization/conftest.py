"""Classifiers big enough that their bytes tell, each exported once; a task; and its texts, which are all that is read."""

import shutil
from functools import cache

import pytest
from transformers import AutoModelForSequenceClassification, set_seed

from compress.data.task_data import load_task_data
from compress.encoder import Encoder, build_config, model_inputs
from compress.exporting import export_onnx
from compress.quantization import half
from compress.quantization import onnx as road
from compress.quantization.calibration import CalibrationData
from compress.recipes.schema import Architecture
from compress.tasks import resolve_task
from tests.conftest import write_task

SHARING = {"bert": "none", "albert": "all", "partial": "attention"}
"""A model → what its two layers share."""


@pytest.fixture(scope="session")
def encoder_of(tokenizer):
    """A kind of sharing → a classifier of it with random weights, and the tokenizer."""

    @cache
    def build(kind: str) -> Encoder:
        shape = Architecture(
            num_hidden_layers=2,
            hidden_size=64,
            num_attention_heads=4,
            intermediate_size=128,
            embedding_size=None if kind == "bert" else 40,
            max_position_embeddings=64,
            share=SHARING[kind],
        )
        config = build_config(shape, "bert" if kind == "bert" else "albert", tokenizer)
        config.vocab_size, config.initializer_range = 1000, 0.1
        config.id2label, config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
        set_seed(0)
        return Encoder(AutoModelForSequenceClassification.from_config(config).eval(), tokenizer)

    return build


@pytest.fixture(scope="session")
def exported(tmp_path_factory, encoder_of):
    """A kind of sharing → its fp32 graph, exported once."""

    @cache
    def export(kind):
        encoder = encoder_of(kind)
        path = tmp_path_factory.mktemp(kind) / "fp32.onnx"
        export_onnx(encoder.model, path, input_names=model_inputs(encoder.tokenizer))
        return path

    return export


@pytest.fixture
def export_once(exported, encoder_of, monkeypatch):
    """Have methods take the graph that is there; how it is made is tested elsewhere."""

    def take(model, path, *, input_names):
        kind = next(kind for kind in SHARING if encoder_of(kind).model is model)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(exported(kind), path)

    monkeypatch.setattr(road, "export_onnx", take)
    monkeypatch.setattr(half, "export_onnx", take)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    file = write_task(tmp_path_factory.mktemp("task"), train=200, validation=20)
    return CalibrationData.of(load_task_data(resolve_task(str(file))), holdout_seed=1, seed=1)
