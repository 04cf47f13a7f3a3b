"""Every method on every kind of sharing: as small as it says, shared layers once, near its model, and it loads."""

import onnx
import pytest
import torch
from onnx import numpy_helper

from compress.errors import CompressError
from compress.inference import load
from compress.quantization.onnx import quantized_weights
from compress.recipes.quantization import (
    METHODS,
    Bf16,
    BnbInt8,
    DynamicInt8,
    Fp16,
    OpenVinoInt8,
    PackedInt4,
    PackedInt8,
    QuantoInt8,
    StaticInt8,
    describe_methods,
    settle,
)
from compress.rewriting import quantize
from tests.quantization.conftest import SHARING

BYTES = {  # a parameter; scales and zero points counted
    settle(DynamicInt8()): 1.05,
    settle(StaticInt8(samples=16)): 1.1,
    settle(StaticInt8(samples=16, graph="operator", ranges="percentile")): 1.1,
    PackedInt8(): 1.2,
    PackedInt4(): 0.7,
    PackedInt4(symmetric=True, block_size=32, activations="float32"): 0.75,
    Fp16(): 2.0,
    Bf16(format="onnx"): 2.0,
    Fp16(format="transformers"): 2.0,
    Bf16(): 2.0,
}
SCALARS = 4000
"""Bytes of a graph's constants that are no weights: shapes, axes; of a header of safetensors."""
ERRORS = {"fp16": 0.01, "bf16": 0.1, "packed-int8": 0.05, "packed-int4": 0.5}
TEXTS = [
    "a lovely film .",
    "dull",
    "the story was witty and the plot so very tender and warm with music of scene",
]


def name_of(method):
    said = method.model_dump(exclude={"kind"}, exclude_defaults=True)
    return "-".join([method.kind, *(f"{name}={value}" for name, value in said.items())])


def stored_bytes(directory):
    """Of all constants, without the nodes of a graph."""
    file = directory / "model.onnx"
    if not file.is_file():
        return (directory / "model.safetensors").stat().st_size
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(file).graph.initializer)


@pytest.mark.parametrize("kind", SHARING)
@pytest.mark.parametrize("method", BYTES, ids=name_of)
def test_every_method_on_every_kind_of_sharing(method, kind, encoder_of, export_once, data, tmp_path):
    encoder = encoder_of(kind)
    encoder.model.config.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    summary = quantize(method, encoder, tmp_path, data)

    weights = sum(parameter.numel() for parameter in encoder.model.parameters() if parameter.dim() > 1)
    vectors = 4 * (encoder.parameters - weights)
    assert stored_bytes(tmp_path) < BYTES[method] * weights + vectors + SCALARS
    assert summary.bytes == sum(file.stat().st_size for file in tmp_path.glob("model.*"))
    linear = [module for module in encoder.model.modules() if isinstance(module, torch.nn.Linear)]
    uses = 2 * 6 + len(linear) - {"bert": 12, "albert": 6, "partial": 8}[kind]
    assert summary.quantized_matmuls == uses
    file = tmp_path / "model.onnx"
    if file.is_file() and "int" in method.kind:
        assert len(set(quantized_weights(onnx.load(file).graph))) == len(linear)

    predictor = load(tmp_path)
    assert predictor.labels == ("bad", "good")
    answers, _ = predictor.logits(TEXTS, batch_size=3)
    alone = [predictor.logits([text])[0][0] for text in TEXTS]
    with torch.no_grad():
        batch = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
        expected = encoder.model(**batch).logits.numpy()
    bound = ERRORS.get(method.kind, 0.3) * summary.comparison.scale * 2
    assert abs(answers - expected).max() < bound
    assert abs(alone - expected).max() < bound
    assert summary.comparison.relative_error > 0
    assert {
        name: value.equal(before[name]) for name, value in encoder.model.state_dict().items()
    } == dict.fromkeys(before, True)


def test_every_method_is_tried():
    assert {method.kind for method in BYTES} <= set(METHODS)
    assert all(describe_methods().values())


@pytest.mark.parametrize("method", [DynamicInt8, PackedInt4, StaticInt8, OpenVinoInt8, BnbInt8, QuantoInt8])
def test_nothing_is_called_quantized_that_is_not(method, encoder_of, export_once, data, tmp_path):
    encoder = encoder_of("bert")
    with pytest.raises(CompressError, match="nothing would be quantized"):
        quantize(method(keep=("*",)), encoder, tmp_path, data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", [DynamicInt8, PackedInt4, StaticInt8])
def test_what_is_kept_stays_in_full_precision(method, encoder_of, export_once, data, tmp_path):
    encoder = encoder_of("albert")
    kept = method(keep=("*.ffn*", "albert.embeddings.word_embeddings"))
    everything = quantize(method(), encoder, tmp_path / "all", data)
    summary = quantize(kept, encoder, tmp_path / "some", data)
    sizes = {
        reason: bytes_ for reason, bytes_ in summary.facts["bytes_kept_in_float"].items() if "kept" in reason
    }
    assert list(sizes.values()) == [4 * (2 * 64 * 128 + 1000 * 40)]
    assert summary.quantized_matmuls == everything.quantized_matmuls - 2 * 2
    assert len(summary.facts["kept_modules"]) == 3
    assert summary.bytes > everything.bytes + 2 * 64 * 128 + 1000 * 40
