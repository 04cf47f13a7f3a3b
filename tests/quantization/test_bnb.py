"""bitsandbytes: what it takes is in fewer bits and loads again, what it cannot take is refused with the reason."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification

from compress.encoder import load_config, load_finished
from compress.engines import open_engine
from compress.errors import CompressError
from compress.parity import compare_answers
from compress.quantization.bnb import quantize_bnb
from tests.quantization.tiny import PRODUCTS, WEIGHTS, batches, build

NAMES = ("input_ids", "attention_mask", "token_type_ids")
WIDE = 3.0
"""A tiny random model's answers are near zero, and any error large beside them."""


@pytest.fixture
def written(tokenizer, tmp_path):
    def write(kind, weights):
        encoder = build(kind, tokenizer)
        tokenizer.save_pretrained(tmp_path)
        trial = batches(encoder)
        return (
            encoder,
            tmp_path,
            quantize_bnb(encoder, tmp_path, weights=weights, batches=trial, parity_bound=WIDE),
        )

    return write


@pytest.mark.parametrize("weights", ["int8", "nf4"])
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_products_are_in_fewer_bits_and_shared_ones_stored_once(kind, weights, written):
    encoder, directory, summary = written(kind, weights)
    with safe_open(directory / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    packed = [
        name
        for name, tensor in tensors.items()
        if tensor.dtype in (torch.int8, torch.uint8) and name.endswith("weight")
    ]
    assert len(packed) == WEIGHTS[kind]
    assert summary.quantized_matmuls == PRODUCTS[kind]
    assert not any("pooler" in name or "classifier" in name for name in packed)
    assert summary.bytes == (directory / "model.safetensors").stat().st_size
    assert "quantization_config" in json.loads((directory / "config.json").read_text())
    assert not list(directory.glob("*.bin"))
    engine = open_engine(directory, load_config(directory), NAMES, threads=1)
    again = compare_answers(engine.run, encoder.model, batches(encoder))
    assert again.relative_error == pytest.approx(summary.comparison.relative_error, rel=1e-3)
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}


def test_plain_transformers_loads_it(written):
    encoder, directory, _ = written("albert", "int8")
    plain = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    inputs = batches(encoder)[2]
    with torch.no_grad():
        logits = plain(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits
    engine = open_engine(directory, load_config(directory), NAMES)
    assert logits.numpy() == pytest.approx(engine.run(inputs), abs=1e-5)


def test_it_answers_and_is_no_start_for_anything(written):
    """Guards a training or an export of weights that are no longer there."""
    _, directory, _ = written("bert", "int8")
    with pytest.raises(CompressError, match="bitsandbytes has quantized"):
        load_finished(directory)


def test_widths_that_nf4_cannot_pack_are_all_listed(tokenizer, tmp_path):
    shape = {"hidden_size": 312, "num_attention_heads": 12, "intermediate_size": 600, "num_hidden_layers": 1}
    encoder = build("albert", tokenizer, **shape)
    with pytest.raises(CompressError) as refused:
        quantize_bnb(encoder, tmp_path, weights="nf4", batches=batches(encoder))
    assert "7 of 7 layers" in refused.value.problem
    assert "attention.query (312 × 312)" in refused.value.problem
    assert "embedding_hidden_mapping_in (64 × 312)" in refused.value.problem
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights", ["int8", "nf4"])
def test_partly_shared_layers_are_refused_with_the_way_out(weights, tokenizer, tmp_path):
    encoder = build("partly shared", tokenizer)
    with pytest.raises(CompressError, match="compress export MODEL --format transformers"):
        quantize_bnb(encoder, tmp_path, weights=weights, batches=batches(encoder))


def test_logits_beyond_the_bound_leave_no_weights(tokenizer, tmp_path):
    encoder = build("albert", tokenizer)
    with pytest.raises(CompressError, match="the bound is 1e-06"):
        quantize_bnb(encoder, tmp_path, weights="int8", batches=batches(encoder), parity_bound=1e-6)
    assert not list(tmp_path.glob("*.safetensors"))


def test_what_is_kept_stays_in_full_precision(tokenizer, tmp_path):
    """A layer that nf4 cannot pack may be kept, too."""
    encoder = build("bert", tokenizer, intermediate_size=120)
    given = {"weights": "nf4", "batches": batches(encoder), "parity_bound": WIDE}
    summary = quantize_bnb(encoder, tmp_path, keep=("*.intermediate.dense", "*.[01].output.dense"), **given)
    assert summary.quantized_matmuls == PRODUCTS["bert"] - 2 * 2
    kept = [tensor.bytes for tensor in summary.kept_in_float.values() if "kept" in tensor.reason]
    assert kept == [4 * 64 * 120] * 4
    engine = open_engine(tmp_path, load_config(tmp_path), NAMES, threads=1)
    again = compare_answers(engine.run, encoder.model, batches(encoder))
    assert again.relative_error == pytest.approx(summary.comparison.relative_error, rel=1e-3)
    with pytest.raises(CompressError, match="nothing would be quantized"):
        quantize_bnb(encoder, tmp_path, keep=("*",), **given)
