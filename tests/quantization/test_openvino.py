"""int8 by NNCF: every product and table, shared weights once, and what NNCF passes over is told."""

from functools import cache

import openvino
import pytest

from compress import converting
from compress.encoder import load_config
from compress.engines import open_engine
from compress.errors import CompressError, InvalidInputError
from compress.parity import compare_answers
from compress.quantization import openvino as quantization
from compress.quantization.openvino import INTEGERS, count_products, quantize_openvino_int8
from tests.quantization.tiny import KINDS, PRODUCTS, batches, build

NAMES = ("input_ids", "attention_mask", "token_type_ids")
WIDE = 3.0
"""A tiny random model's answers are near zero, and any error large beside them."""


@pytest.fixture(scope="module")
def converted(tokenizer):
    """kind → encoder and its graph in fp32, converted once."""

    @cache
    def convert(kind):
        encoder = build(kind, tokenizer)
        return encoder, converting.convert_classifier(encoder.model, NAMES)

    return convert


@pytest.fixture
def convert_once(converted, monkeypatch):
    """Have quantization take the graph that is there."""

    def take(kind):
        encoder, graph = converted(kind)
        monkeypatch.setattr(quantization, "convert_classifier", lambda *_: graph.clone())
        return encoder

    return take


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_and_table_is_in_8_bits_and_shared_ones_once(kind, convert_once, tmp_path):
    encoder = convert_once(kind)
    trial = batches(encoder)
    summary = quantize_openvino_int8(encoder, tmp_path, calibration=trial, batches=trial, parity_bound=WIDE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["openvino_model.bin", "openvino_model.xml"]
    assert summary.quantized_matmuls == PRODUCTS[kind] + 2  # the pooler's and the classifier's
    assert summary.more["quantized_activations"] > PRODUCTS[kind] / 2
    written = openvino.Core().read_model(tmp_path / "openvino_model.xml")
    assert count_products(written, INTEGERS) == summary.quantized_matmuls
    parameters = sum(parameter.numel() for parameter in encoder.model.parameters())
    vectors = sum(kept.bytes for kept in summary.kept_in_float.values())
    assert (tmp_path / "openvino_model.bin").stat().st_size < parameters + vectors + 4096
    engine = open_engine(tmp_path_with_config(encoder, tmp_path), load_config(tmp_path), NAMES, threads=1)
    again = compare_answers(engine.run, encoder.model, trial)
    assert again.relative_error == pytest.approx(summary.comparison.relative_error, rel=0.2)


def tmp_path_with_config(encoder, path):
    encoder.model.config.save_pretrained(path)
    return path


def test_logits_beyond_the_bound_leave_no_file(convert_once, tmp_path):
    encoder = convert_once("albert")
    trial = batches(encoder)
    with pytest.raises(CompressError, match="the bound is 1e-06"):
        quantize_openvino_int8(encoder, tmp_path, calibration=trial, batches=trial, parity_bound=1e-6)
    assert not list(tmp_path.iterdir())


def test_products_that_are_passed_over_are_told(convert_once, monkeypatch, tmp_path):
    encoder = convert_once("albert")
    quantize = quantization.nncf.quantize

    def shy(graph, dataset, **options):
        options["ignored_scope"] = quantization.nncf.IgnoredScope(types=["MatMul"])
        return quantize(graph, dataset, **options)

    monkeypatch.setattr(quantization.nncf, "quantize", shy)
    trial = batches(encoder)
    with pytest.raises(CompressError, match="0 int8 products, expected 15"):
        quantize_openvino_int8(encoder, tmp_path, calibration=trial, batches=trial, parity_bound=WIDE)
    assert not list(tmp_path.iterdir())


def test_what_is_kept_stays_in_full_precision(convert_once, tmp_path):
    encoder = convert_once("albert")
    keep = ("*.ffn", "albert.embeddings.word_embeddings")
    given = {"calibration": batches(encoder), "batches": batches(encoder), "parity_bound": WIDE}
    whole = quantize_openvino_int8(encoder, tmp_path / "all", **given)
    summary = quantize_openvino_int8(encoder, tmp_path / "some", keep=keep, **given)
    assert summary.quantized_matmuls == whole.quantized_matmuls - 2  # one layer, used twice
    tables = encoder.model.albert.embeddings.word_embeddings.weight.numel()
    kept = [tensor.bytes for tensor in summary.kept_in_float.values() if "kept" in tensor.reason]
    assert sorted(kept) == sorted([4 * tables, 4 * 64 * 128])
    assert summary.more["kept_modules"] == [
        "albert.embeddings.word_embeddings",
        "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn",
    ]
    with pytest.raises(InvalidInputError, match=r"albert\.pooler"):
        quantize_openvino_int8(encoder, tmp_path / "none", keep=("albert.poller",), **given)
