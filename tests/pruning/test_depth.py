"""Layers that go are gone, the others are what they were, and shared ones are passed less often."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from compress.encoder import count_parameters
from compress.models.anatomy import read_anatomy
from compress.pruning.depth import choose_layers, keep_layers, measure_influence
from tests.pruning.conftest import KINDS, batches, logits


def test_rules_choose():
    assert choose_layers(6, 2, "last") == (0, 1, 2, 3)
    assert choose_layers(6, 2, "first") == (2, 3, 4, 5)
    assert choose_layers(12, 6, "alternate") == (0, 2, 4, 7, 9, 11)
    assert choose_layers(4, 2, "importance", [0.3, 0.1, 0.2, 0.4]) == (0, 3)
    assert choose_layers(3, 1, "importance", [0.1, 0.1, 0.1]) == (0, 1)  # of equals the last


@torch.no_grad()
def silence(layer):
    """Have a layer hand on what it gets: its maps say nothing, and its input is normalized already."""
    for linear in (layer.attention.output, layer.feed_forward.outer):
        linear.weight.zero_()
        linear.bias.zero_()


@torch.no_grad()
def make_norms_plain(model):
    anatomy = read_anatomy(model)
    norms = [norm for layer in anatomy.layers for norm in (layer.attention_norm, layer.output_norm)]
    for norm in (*norms, anatomy.tables.norm):
        norm.weight.fill_(1)
        norm.bias.zero_()


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_a_layer_that_did_nothing_is_not_missed(kind, classifier):
    model = classifier(kind)
    make_norms_plain(model)
    silence(read_anatomy(model).layers[1])
    influence = measure_influence(model, batches())
    assert influence[1] == min(influence) < 1e-4
    pruned = keep_layers(model, choose_layers(4, 1, "importance", influence))
    assert pruned.config.num_hidden_layers == 3
    assert torch.allclose(logits(pruned), logits(model), atol=1e-4)
    assert not torch.allclose(logits(keep_layers(model, (0, 1, 2))), logits(model), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_stay_are_what_they_were(kind, classifier, tmp_path):
    model = classifier(kind)
    pruned = keep_layers(model, (1, 3))
    whole, part = read_anatomy(model), read_anatomy(pruned)
    shared = {"albert": (0, 0), "groups": (0, 2)}.get(kind, (1, 3))
    assert pruned.config.num_hidden_layers == 2
    for place, number in enumerate(shared):
        for name in ("inner", "outer"):
            one, other = (
                getattr(each.feed_forward, name).weight for each in (part.layers[place], whole.layers[number])
            )
            assert torch.equal(one, other)
        assert torch.equal(
            part.layers[place].attention.query.weight, whole.layers[number].attention.query.weight
        )
    pruned.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded), logits(pruned))
    same = kind in ("albert", "groups")  # fewer passes save time and no byte
    assert (count_parameters(pruned) == count_parameters(model)) == same


def test_padding_has_no_influence(classifier):
    model = classifier("bert")
    (batch,) = batches(1)
    alone = [
        {name: values[row : row + 1, :length] for name, values in batch.items() if name != "labels"}
        for row, length in ((0, 6), (1, 3))
    ]
    single = [measure_influence(model, [each]) for each in alone]
    together = measure_influence(model, [batch])
    expected = [(6 * first + 3 * second) / 9 for first, second in zip(*single, strict=True)]
    assert together == pytest.approx(expected, abs=1e-5)
