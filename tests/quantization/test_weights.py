"""A graph's weights are known again by their numbers, those of modules with equal numbers by their order."""

import pytest

from compress.converting import convert_classifier
from compress.encoder import model_inputs
from compress.quantization import onnx as graphs
from compress.quantization import openvino
from tests.quantization.tiny import build


def twins(tokenizer):
    """A plain model whose second layer has a copy of the first one's attention, as an exported student's has."""
    encoder = build("bert", tokenizer)
    first, second = encoder.model.bert.encoder.layer
    second.attention.load_state_dict(first.attention.state_dict())
    return encoder


def find_in_onnx(encoder, names):
    return graphs._export(encoder.model, names).weights


def find_in_openvino(encoder, names):
    return openvino.find_weights(convert_classifier(encoder.model, names), encoder.model)


@pytest.mark.parametrize("find", [find_in_onnx, find_in_openvino])
def test_copies_of_a_module_are_told_apart(find, tokenizer):
    encoder = twins(tokenizer)
    weights = find(encoder, model_inputs(encoder.tokenizer))
    found = [weight.module for weight in weights if "encoder.layer" in weight.module]
    assert len(found) == len(set(found)) == 2 * 6
    assert all(len(weight.nodes) == 1 for weight in weights if weight.module in found)
    layers = [int(name.split(".")[3]) for name in found]
    assert layers == sorted(layers)
