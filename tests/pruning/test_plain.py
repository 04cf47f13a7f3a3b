"""Heads of a size of their own: known to the Auto classes after `import compress`, and plain once padded with zeros."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from compress.encoder import count_parameters, longest_input
from compress.errors import CompressError
from compress.models.dimensions import read_dimensions, resize_config
from compress.models.head_sizes import HEAD_PRUNED, is_head_pruned
from compress.models.plain import plain_heads, to_plain
from compress.pruning.importance import by_magnitude
from compress.pruning.structured import prune_heads, prune_hidden
from tests.pruning.conftest import KINDS, logits


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_make_it_plain(kind, classifier, tmp_path):
    pruned = prune_heads(classifier(kind), 2, by_magnitude)
    expected = logits(pruned)
    plain = to_plain(pruned)
    assert type(plain).__module__.startswith("transformers.models.")
    assert plain.config.num_attention_heads == 3
    assert torch.allclose(logits(plain), expected, atol=1e-6)
    assert torch.equal(logits(pruned), expected)
    plain.save_pretrained(tmp_path)
    assert "head_size" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.allclose(logits(loaded), expected, atol=1e-6)
    assert count_parameters(plain) > count_parameters(pruned)


def test_heads_may_be_padded_to_larger_ones(classifier):
    """Width 20 has no room for two heads of 8 but as two of 10, whose scores are divided by another root."""
    pruned = prune_hidden(classifier("bert"), 20, 2, by_magnitude)
    assert plain_heads(pruned.config) == (2, 10)
    assert torch.allclose(logits(to_plain(pruned)), logits(pruned), atol=1e-5)


def test_heads_that_do_not_fit_stay_ours(classifier):
    pruned = prune_hidden(classifier("roberta"), 16, 3, by_magnitude)
    assert is_head_pruned(pruned)
    with pytest.raises(CompressError, match="3 heads of size 8 do not fit into the hidden width 16"):
        to_plain(pruned)


def test_what_is_plain_is_left_alone(classifier):
    model = classifier("bert")
    assert to_plain(model) is model


def test_a_pruned_roberta_counts_its_positions_as_one(classifier):
    model = classifier("roberta")
    assert longest_input(prune_heads(model, 2, by_magnitude).config) == longest_input(model.config)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_sizes_come_back_from_a_configuration(kind, classifier):
    config = classifier(kind).config
    wanted = replace(read_dimensions(config), heads=2)
    ours = resize_config(config, wanted)
    assert ours.model_type == f"head_pruned_{kind}"
    assert read_dimensions(ours) == wanted
    assert type(resize_config(ours, read_dimensions(config))) is type(config)
    assert len(HEAD_PRUNED) == 16


def test_after_import_compress_it_loads(classifier, tmp_path, alone):
    prune_heads(classifier("electra"), 1, by_magnitude).save_pretrained(tmp_path)
    code = (
        f"import compress; from transformers import AutoModelForSequenceClassification as A\n"
        f"print(type(A.from_pretrained({str(tmp_path)!r})).__name__)"
    )
    done = alone.run(code)
    assert done.stdout.strip() == "HeadPrunedElectraForSequenceClassification", done.stderr
