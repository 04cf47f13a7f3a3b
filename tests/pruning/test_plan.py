"""What a removal leaves: whole heads, eights, something of everything; the rest is refused before any work."""

from itertools import pairwise

import pytest
from safetensors.torch import save_file

from compress.encoder import count_parameters
from compress.errors import InvalidInputError
from compress.models.dimensions import read_dimensions, rebuild, resize_config
from compress.pruning.plan import cost_of, describe_passes, plan_passes
from compress.pruning.rounds import part_into_rounds
from compress.pruning.targets import Target, meet_target, read_bytes
from compress.recipes.pruning import Removal
from tests.conftest import tiny_config
from tests.pruning.conftest import KINDS


def sizes_after(config, **removal):
    return plan_passes(config, Removal(**removal))[-1].after


def test_sizes_are_rounded_and_that_is_said(classifier):
    config = classifier("bert").config
    (only,) = plan_passes(config, Removal(ffn=0.4))
    assert only.after.ffn == 32  # of 48 · 0.6 = 28.8
    assert "48 → 32 (0.4 asked, 0.333 with whole heads and eights)" in only.describe()
    (exact,) = plan_passes(config, Removal(ffn=0.5))
    assert exact.describe() == "ffn 48 → 24"
    assert sizes_after(config, heads=0.5).heads == 2  # of three: a half stays
    narrow = sizes_after(config, hidden=0.34)
    assert (narrow.hidden, narrow.heads) == (16, 2)
    both = sizes_after(config, heads=0.34, hidden=0.67)
    assert (both.hidden, both.heads) == (8, 2)  # each by its own fraction


def test_passes_follow_one_another(classifier):
    config = classifier("albert").config
    passes = plan_passes(config, Removal(sparsity=0.5, embedding=0.2, hidden=0.4, ffn=0.5, layers=1))
    assert [each.part for each in passes] == ["layers", "ffn", "hidden", "embedding", "sparsity"]
    assert all(one.after == next_one.before for one, next_one in pairwise(passes))
    last = passes[-1].after
    assert (last.layers, last.ffn, last.hidden, last.heads, last.embedding) == (3, 24, 16, 2, 16)
    lines = describe_passes(config, passes)
    assert lines[0].startswith("as it is:")
    assert len(lines) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_costs_are_those_of_the_model(kind, classifier, tmp_path):
    """Guards a shared layer that is counted once for each use, and a plan that promises what is not made."""
    model = classifier(kind, max_position_embeddings=140)
    sizes = sizes_after(model.config, ffn=0.5)
    cost = cost_of(model.config, sizes)
    resized = type(model)(resize_config(model.config, sizes))
    assert cost.parameters == count_parameters(resized)
    save_file(dict(resized.named_parameters()), tmp_path / "weights")
    size = (tmp_path / "weights").stat().st_size
    assert size <= cost.bytes < size + 3000  # at the most what is said, and hardly less
    assert 0 < cost.flops < cost_of(model.config, read_dimensions(model.config)).flops


REFUSED = [
    ("bert", {}, "Nothing would be removed"),
    ("bert", {"heads": 0.9}, "would leave none of the 3 heads"),
    ("bert", {"hidden": 0.9}, "would leave none of the 3 heads"),
    ("bert", {"ffn": 0.95}, "would leave nothing of the ffn width 48"),
    ("bert", {"embedding": 0.5}, "have no width of their own"),
    ("electra", {"embedding": 0.2, "hidden": 0.34}, "no projection"),
    ("bert", {"layers": 4}, "has 4 layers"),
    ("groups", {"layers": 3}, "2 groups"),
]


@pytest.mark.parametrize(("kind", "removal", "message"), REFUSED)
def test_what_would_leave_nothing_is_refused(kind, removal, message, classifier):
    with pytest.raises(InvalidInputError, match=message):
        plan_passes(classifier(kind).config, Removal(**removal))


def test_a_missing_weight_is_never_filled_in(classifier):
    model = classifier("bert")
    state = model.state_dict()
    del state["bert.encoder.layer.0.output.dense.bias"]
    with pytest.raises(RuntimeError, match=r"output\.dense\.bias"):
        rebuild(model, read_dimensions(model.config), state)


def test_rounds_end_where_one_would(classifier):
    config = classifier("bert").config
    whole = Removal(ffn=0.7, hidden=0.67, layers=2)
    rounds = list(part_into_rounds(config, whole, 3))
    sizes = []
    before = config
    for remove in rounds:
        after = plan_passes(before, remove)[-1].after
        sizes.append((after.layers, after.ffn, after.hidden, after.heads))
        before = resize_config(before, after)
    assert sizes == [(3, 40, 16, 2), (3, 24, 16, 2), (2, 16, 8, 1)]
    assert read_dimensions(before) == plan_passes(config, whole)[-1].after
    assert list(part_into_rounds(config, Removal(ffn=0.5), 1)) == [Removal(ffn=0.5)]
    with pytest.raises(InvalidInputError, match="by the same factor"):
        list(part_into_rounds(config, Removal(heads=0.3, hidden=0.3), 2))


def test_a_target_is_met_with_as_little_as_need_be(classifier):
    config = classifier("bert", vocab_size=100).config
    whole = cost_of(config, read_dimensions(config))
    for target in (
        Target(whole.parameters // 2, "parameters"),
        Target(whole.bytes // 2, "bytes", ("ffn", "heads")),
    ):
        remove = meet_target(config, Removal(), target)
        assert {name for name, _ in remove.parts()} == set(target.parts)
        assert len({share for _, share in remove.parts()}) == 1
        reached = cost_of(config, plan_passes(config, remove)[-1].after)
        assert getattr(reached, target.of) <= target.limit
        less = Removal(**{name: share - 0.001 for name, share in remove.parts()})
        assert getattr(cost_of(config, plan_passes(config, less)[-1].after), target.of) > target.limit
    with pytest.raises(InvalidInputError, match="still has"):
        meet_target(config, Removal(), Target(1000, "parameters"))
    with pytest.raises(InvalidInputError, match="no more than"):
        meet_target(config, Removal(), Target(10**9, "bytes"))
    assert meet_target(config, Removal(layers=1), Target(whole.parameters // 2, "parameters")).layers == 1


def test_a_target_is_met_though_some_fractions_cannot_be(tokenizer):
    """An ELECTRA has no width in common with its tables: at a half of these layers there is no plan, beyond it there is."""
    config = tiny_config("electra", tokenizer, hidden_size=32, num_attention_heads=8, intermediate_size=64)
    with pytest.raises(InvalidInputError):
        plan_passes(config, Removal(hidden=0.5))
    few = cost_of(config, read_dimensions(config), flops=False).parameters // 3
    remove = meet_target(config, Removal(), Target(few, "parameters"))
    assert remove.hidden > 0.5
    assert cost_of(config, plan_passes(config, remove)[-1].after, flops=False).parameters <= few


def test_a_fraction_is_given_or_looked_for(classifier):
    config = classifier("bert").config
    with pytest.raises(InvalidInputError, match="fraction of ffn is given"):
        meet_target(config, Removal(ffn=0.5), Target(1000, "parameters"))
    with pytest.raises(InvalidInputError, match="as wide as its layers"):
        meet_target(config, Removal(), Target(1000, "parameters", ("embedding",)))


def test_sizes_are_read_as_people_write_them():
    assert [read_bytes(text) for text in ("3MB", "2.5 mb", "800kB", "12", "1G")] == [
        3_000_000,
        2_500_000,
        800_000,
        12,
        10**9,
    ]
    for text in ("", "MB", "-3MB", "3 MiB", "0"):
        with pytest.raises(InvalidInputError, match="is no size"):
            read_bytes(text)
