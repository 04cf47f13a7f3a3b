"""A file of 8 bits says where its sums would be cut off."""

import logging

import pytest

from compress.encoder import Encoder, model_inputs, save_encoder
from compress.engines.onnx import OnnxEngine
from compress.inference import load
from compress.quantization.dynamic import quantize_dynamic_int8
from compress.recipes.quantization import DynamicInt8


@pytest.fixture(scope="module")
def files(tmp_path_factory, tokenizer):
    """Files of 7 bits, of 8 and in fp32, and the model that they were made from."""
    from transformers import AutoModelForSequenceClassification

    from compress.exporting import export_onnx
    from tests.conftest import tiny_config

    root = tmp_path_factory.mktemp("files")
    model = AutoModelForSequenceClassification.from_config(tiny_config("albert", tokenizer)).eval()
    names = model_inputs(tokenizer)
    for reduced in (True, False):
        method = DynamicInt8(reduce_range=reduced)
        quantize_dynamic_int8(model, root / str(reduced), input_names=names, method=method, parity_bound=9.0)
    export_onnx(model, root / "fp32.onnx", input_names=names)
    return {
        "7 bits": root / "True" / "model.onnx",
        "8 bits": root / "False" / "model.onnx",
        "fp32": root / "fp32.onnx",
        "model": model,
    }


@pytest.mark.parametrize(
    ("kind", "saturates", "warned"),
    [("8 bits", True, True), ("8 bits", False, False), ("7 bits", True, False), ("fp32", True, False)],
)
def test_a_file_that_saturates_here_says_so(kind, saturates, warned, files, monkeypatch, caplog):
    monkeypatch.setattr("compress.engines.onnx.saturates_int8", lambda: saturates)
    assert bool(OnnxEngine(files[kind]).doubt()) is warned


def test_it_is_said_once_when_it_answers_and_not_when_it_is_loaded(files, tokenizer, monkeypatch, caplog):
    """Guards load time and memory, which are measured: to find out, the whole file is read once more."""
    monkeypatch.setattr("compress.engines.onnx.saturates_int8", lambda: True)
    save_encoder(Encoder(files["model"], tokenizer), files["8 bits"].parent, max_length=16)
    (files["8 bits"].parent / "model.safetensors").unlink()
    with caplog.at_level(logging.WARNING, logger="compress"):
        predictor = load(files["8 bits"].parent)
        assert not caplog.records
        for _ in range(2):
            predictor.logits(["a lovely film"])
    assert [record.getMessage().count("--reduce-range") for record in caplog.records] == [1]
