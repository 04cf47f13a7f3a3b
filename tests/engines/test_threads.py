"""A number of threads that is asked for is the number that a runtime computes with."""

import pytest
import torch

from compress.converting import export_openvino
from compress.encoder import model_inputs
from compress.engines.onnx import OnnxEngine
from compress.engines.openvino import OpenVinoEngine
from compress.engines.pytorch import TorchEngine
from compress.exporting import export_onnx
from tests.quantization.tiny import build


@pytest.fixture(scope="module")
def graphs(tokenizer, tmp_path_factory):
    """A model, and a directory with its graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    encoder = build("partly shared", tokenizer)
    export_onnx(encoder.model, folder / "model.onnx", input_names=model_inputs(encoder.tokenizer))
    export_openvino(encoder.model, folder, input_names=model_inputs(encoder.tokenizer))
    return encoder.model, folder


@pytest.mark.parametrize("threads", [1, 2])
def test_onnx_runtime_has_as_many(graphs, threads):
    engine = OnnxEngine(graphs[1] / "model.onnx", threads=threads)
    assert engine._session.get_session_options().intra_op_num_threads == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_has_as_many(graphs, threads):
    engine = OpenVinoEngine(graphs[1] / "openvino_model.xml", threads=threads)
    assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == threads


@pytest.mark.parametrize("threads", [2, 1])
def test_pytorch_has_as_many(graphs, threads):
    before = torch.get_num_threads()
    try:
        TorchEngine(graphs[0], threads=threads)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
