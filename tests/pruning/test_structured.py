"""Narrower models answer as the wide ones did with the same units silenced, reload as they are, and share as before."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from compress.encoder import count_parameters
from compress.models.anatomy import read_anatomy
from compress.models.dimensions import read_dimensions
from compress.pruning.importance import at_random, by_magnitude, by_taylor
from compress.pruning.structured import prune_embedding, prune_feed_forward, prune_heads, prune_hidden
from tests.pruning.conftest import FACTORIZED, KINDS, batches, logits


def kept_rows(small, large):
    """Which rows of a large matrix a smaller one has, by their values in the columns that both have."""
    return [int((large == row).all(dim=1).nonzero()[0]) for row in small]


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_that_were_silent_are_not_missed(kind, classifier):
    model = classifier(kind)
    silent = [*range(1, 48, 2)]
    with torch.no_grad():
        for layer in read_anatomy(model).layers:
            layer.feed_forward.inner.weight[silent] = 0
            layer.feed_forward.inner.bias[silent] = 0
            layer.feed_forward.outer.weight[:, silent] = 0
    pruned = prune_feed_forward(model, 24, by_magnitude)
    assert pruned.config.intermediate_size == 24
    assert type(pruned) is type(model)
    assert torch.allclose(logits(pruned), logits(model), atol=1e-6)
    assert logits(prune_feed_forward(model, 16, by_magnitude)).sub(logits(model)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_were_silent_are_not_missed(kind, classifier):
    model = classifier(kind)
    with torch.no_grad():
        for number, attention in enumerate({layer.attention: 0 for layer in read_anatomy(model).layers}):
            head = slice(8 * (number % 3), 8 * (number % 3) + 8)  # another one in each layer
            for linear in (attention.query, attention.key, attention.value):
                linear.weight[head] = 0
                linear.bias[head] = 0
            attention.output.weight[:, head] = 0
    pruned = prune_heads(model, 2, by_magnitude)
    assert (pruned.config.num_attention_heads, pruned.config.head_size) == (2, 8)
    assert torch.allclose(logits(pruned), logits(model), atol=1e-6)
    assert logits(prune_heads(model, 1, by_magnitude)).sub(logits(model)).abs().max() > 1e-3


def normalize_the_kept(norm, kept):
    """Have a norm see the coordinates that stay, and say nothing in the others."""
    silent = torch.tensor([index not in kept for index in range(len(norm.weight))])

    def forward(states):
        seen = nn.functional.layer_norm(
            states[..., kept], (len(kept),), norm.weight[kept], norm.bias[kept], norm.eps
        )
        whole = torch.zeros_like(states)
        whole[..., ~silent] = seen
        return whole

    norm.forward = forward


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_of_hidden_states_go_everywhere_at_once(kind, classifier):
    """The original answers the same once the coordinates that went are silent: in every norm, and so in every map."""
    model = classifier(kind)
    pruned = prune_hidden(model, 16, 2, by_magnitude)
    assert (pruned.config.hidden_size, pruned.config.num_attention_heads) == (16, 2)
    assert type(pruned) is type(model)  # a plain configuration says it
    whole, part = read_anatomy(model), read_anatomy(pruned)
    norm, small = whole.layers[0].output_norm, part.layers[0].output_norm
    kept = [int((norm.weight == value).nonzero()[0]) for value in small.weight]
    with torch.no_grad():
        for layer, smaller in zip(whole.layers, part.layers, strict=True):
            for one, other in (
                (layer.output_norm, smaller.output_norm),
                (layer.attention_norm, smaller.attention_norm),
            ):
                assert torch.equal(one.weight[kept], other.weight)
                normalize_the_kept(one, kept)
            heads = kept_rows(smaller.attention.query.weight, layer.attention.query.weight[:, kept])
            gone = [row for row in range(24) if row not in heads]
            layer.attention.output.weight[:, gone] = 0
        if whole.tables.projection is None:
            normalize_the_kept(whole.tables.norm, kept)
        else:
            gone = [row for row in range(24) if row not in kept]
            whole.tables.projection.weight[gone] = 0
            whole.tables.projection.bias[gone] = 0
        between = whole.pooler or model.classifier.dense
        units = kept_rows((part.pooler or pruned.classifier.dense).weight, between.weight[:, kept])
        gone = [row for row in range(24) if row not in units]
        getattr(model.classifier, "out_proj", model.classifier).weight[:, gone] = 0
    assert torch.allclose(logits(pruned), logits(model), atol=1e-5)


@pytest.mark.parametrize("kind", FACTORIZED)
def test_columns_of_the_tables_go_with_their_projection(kind, classifier):
    model = classifier(kind)
    pruned = prune_embedding(model, 8, by_magnitude)
    assert pruned.config.embedding_size == 8
    whole, part = read_anatomy(model).tables, read_anatomy(pruned).tables
    kept = kept_rows(part.word.weight.T, whole.word.weight.T)
    normalize_the_kept(whole.norm, kept)
    assert torch.allclose(logits(pruned), logits(model), atol=1e-5)


CUTS = {
    "ffn": lambda model, importance: prune_feed_forward(model, 24, importance),
    "heads": lambda model, importance: prune_heads(model, 1, importance),
    "hidden": lambda model, importance: prune_hidden(model, 8, 1, importance),
    "embedding": lambda model, importance: prune_embedding(model, 8, importance),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", CUTS)
def test_what_was_cut_reloads_and_shares_as_before(cut, kind, classifier, tmp_path):
    if cut == "embedding" and kind not in FACTORIZED:
        pytest.skip("its tables are as wide as its layers")
    model = classifier(kind)
    before = logits(model)
    pruned = CUTS[cut](model, by_magnitude)
    assert torch.equal(logits(model), before)  # left as it was
    assert count_parameters(pruned) < count_parameters(model)
    assert len(list(pruned.parameters())) == len(list(model.parameters()))  # as much is shared
    assert read_anatomy(pruned).blocks == read_anatomy(model).blocks
    pruned.save_pretrained(tmp_path)
    loaded, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(loaded) is type(pruned)
    assert len(list(loaded.parameters())) == len(list(model.parameters()))
    assert torch.equal(logits(loaded.eval()), logits(pruned))
    assert read_dimensions(loaded.config) == read_dimensions(pruned.config)


@pytest.mark.parametrize("kind", ["bert", "ffn"])
def test_cuts_follow_one_another(kind, classifier):
    """Half the heads alone, then half of the width: in the end heads and width, each its own size."""
    model = prune_heads(classifier(kind), 2, by_magnitude)
    model = prune_feed_forward(model, 32, by_magnitude)
    pruned = prune_hidden(model, 16, 2, by_magnitude)
    assert read_dimensions(pruned.config).heads_fill_width
    assert pruned.config.model_type in ("bert", "partially_shared_albert")
    assert getattr(pruned.config, "head_size", None) is None
    assert logits(pruned).shape == (2, 3)


def test_taylor_keeps_what_the_loss_needs(classifier):
    """Guards gradients that are not there: a large neuron that nobody reads goes before a small one that counts."""
    model = classifier("bert")
    with torch.no_grad():
        for layer in read_anatomy(model).layers:
            layer.feed_forward.inner.weight[:24] *= 10  # loud
            layer.feed_forward.outer.weight[:, :24] = 0  # unheard
    assert not torch.allclose(logits(prune_feed_forward(model, 24, by_magnitude)), logits(model), atol=1e-3)
    pruned = prune_feed_forward(model, 24, by_taylor(batches()))
    assert torch.allclose(logits(pruned), logits(model), atol=1e-5)


def test_chance_is_repeatable(classifier):
    model = classifier("albert")
    one, same, other = (logits(prune_feed_forward(model, 24, at_random(seed))) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
