"""A file of 8 bits says where its sums would be cut off."""

import logging

import pytest

from compress.encoder import model_inputs
from compress.engines.onnx import OnnxEngine
from compress.quantization.dynamic import quantize_dynamic_int8
from compress.recipes.quantization import DynamicInt8


@pytest.fixture(scope="module")
def files(tmp_path_factory, tokenizer):
    """Whether weights take 7 bits → a file, and one in fp32."""
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
    }


@pytest.mark.parametrize(
    ("kind", "saturates", "warned"),
    [("8 bits", True, True), ("8 bits", False, False), ("7 bits", True, False), ("fp32", True, False)],
)
def test_a_file_that_saturates_here_says_so(kind, saturates, warned, files, monkeypatch, caplog):
    monkeypatch.setattr("compress.engines.onnx.saturates_int8", lambda: saturates)
    with caplog.at_level(logging.WARNING, logger="compress"):
        OnnxEngine(files[kind])
    assert ("--reduce-range" in caplog.text) is warned
