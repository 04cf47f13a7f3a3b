"""A model that is trained for a method computes what the method's artefact will: nearly its logits, not its own."""

import shutil
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch

from compress import exporting
from compress.encoder import model_inputs
from compress.errors import CompressError, InvalidInputError
from compress.exporting import export_onnx
from compress.parity import compare_answers
from compress.quantization import onnx as road
from compress.quantization import packed
from compress.quantization.blocks import pack_product
from compress.quantization.simulation import rounding_of, simulating
from compress.recipes.quantization import (
    METHODS,
    DynamicInt8,
    PackedInt4,
    PackedInt8,
    settle,
)
from compress.rewriting import quantize
from tests.quantization.conftest import SHARING
from tests.quantization.test_methods import name_of

METHODS_TRIED = (
    DynamicInt8(reduce_range=True),
    settle(DynamicInt8()),
    settle(DynamicInt8(per_channel=False)),
    PackedInt8(),
    PackedInt8(activations="float32"),
    PackedInt4(),
    PackedInt4(symmetric=True, block_size=32, activations="float32"),
    PackedInt4(keep=("*.word_embeddings", "classifier")),
)
NEARER = 0.4
"""How near the simulated model is to the artefact, beside the model in fp32. Mostly it is 1e-5; an activation between two
codes, though, falls to either side with the last bit of a sum, and shifts what comes after it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder_of):
    """A kind of sharing → its graph, the last layer at all positions as in training: ranges of activations are of all."""

    @cache
    def export(kind):
        encoder = encoder_of(kind)
        path = tmp_path_factory.mktemp(kind) / "fp32.onnx"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exporting, "narrow_last_layer", lambda graph: None)
            export_onnx(encoder.model, path, input_names=model_inputs(encoder.tokenizer))
        return path

    return export


@pytest.mark.parametrize("kind", SHARING)
@pytest.mark.parametrize("method", METHODS_TRIED, ids=name_of)
def test_it_computes_what_the_artefact_will(method, kind, encoder_of, whole, data, tmp_path, monkeypatch):
    encoder = encoder_of(kind)
    monkeypatch.setattr(road, "export_onnx", lambda model, path, **_: shutil.copy(whole(kind), path))
    quantize(method, encoder, tmp_path, data)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [node.name for node in session.get_inputs()]
    batches = [{name: batch[name] for name in names} for batch in data.probes(encoder)[-1:]]

    def answer(inputs):
        return session.run(["logits"], dict(inputs))[0]

    apart = compare_answers(answer, encoder.model, batches).rms_difference
    with simulating(encoder.model, method):
        near = compare_answers(answer, encoder.model, batches).rms_difference
    assert 0 < near < NEARER * apart


def test_what_rounding_itself_costs_is_no_fault_of_the_artefact(encoder_of, data, tmp_path):
    """Of 64 weights one that is a hundred times as large leaves 4 bits nothing for the others."""
    encoder = deepcopy(encoder_of("albert"))
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if "layer" in name and parameter.dim() == 2:
                parameter[:, ::64] *= 100
    summary = quantize(PackedInt4(), encoder, tmp_path, data)
    assert summary.comparison.relative_error > 0.6


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.3, True), (float("nan"), True)])
def test_an_artefact_that_computes_something_else_is_refused(
    factor, refused, encoder_of, data, tmp_path, monkeypatch
):
    def scaled(*arguments, **options):
        blocks = pack_product(*arguments, **options)
        return replace(blocks, scales=np.float32(factor) * blocks.scales)

    monkeypatch.setattr(packed, "pack_product", scaled)
    expected = pytest.raises(CompressError, match="simulated rounding") if refused else nullcontext()
    with expected:
        quantize(PackedInt4(), encoder_of("albert"), tmp_path, data)
    assert (tmp_path / "model.onnx").exists() != refused


@pytest.mark.parametrize("method", METHODS_TRIED, ids=name_of)
def test_gradients_pass_and_the_model_comes_back(method, encoder_of, data):
    model = encoder_of("albert").model
    (batch,) = data.probes(encoder_of("albert"))[-1:]
    inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
    names, whole = list(model.state_dict()), model(**inputs).logits
    with simulating(model, method):
        assert list(model.state_dict()) == names
        rounded = model(**inputs).logits
        rounded.square().sum().backward()
    assert 0 < (rounded - whole).abs().max() < whole.abs().max()
    rows = model.albert.embeddings.word_embeddings.weight.grad.abs().sum(1)
    assert set(rows.nonzero()[:, 0].tolist()) == set(inputs["input_ids"].unique().tolist()) - {
        0
    }  # of padding
    layer = model.albert.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight
    assert layer.grad.count_nonzero() > 0.9 * layer.grad.numel()
    model.zero_grad()
    assert model(**inputs).logits.equal(whole)


def test_what_is_kept_is_not_rounded(encoder_of):
    model = encoder_of("bert").model
    with simulating(model, PackedInt4(keep=("classifier", "*.word_embeddings"))):
        rounded = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert len(rounded) == 2 * 6 + 5 - 2
    assert not rounded & {"classifier", "bert.embeddings.word_embeddings"}
    with (
        pytest.raises(InvalidInputError, match="clasifier"),
        simulating(model, PackedInt4(keep=("clasifier",))),
    ):
        pass


def test_methods_say_whether_they_are_simulated():
    for kind, method in METHODS.items():
        if method.simulated:
            assert rounding_of(method())
        else:
            with pytest.raises(NotImplementedError, match=kind):
                rounding_of(method())
