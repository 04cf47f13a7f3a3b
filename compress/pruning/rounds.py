"""A removal in rounds, each of them small enough to recover from."""

from collections.abc import Iterator

from transformers import PretrainedConfig

from compress.errors import InvalidInputError
from compress.models.dimensions import Dimensions, read_dimensions
from compress.pruning.plan import plan_passes
from compress.recipes.pruning import Removal

SHARES = ("heads", "ffn", "hidden", "embedding")


def part_into_rounds(config: PretrainedConfig, remove: Removal, rounds: int) -> Iterator[Removal]:
    """What goes in each round, of what the round before has left; together it is as much as at once.

    Sizes fall evenly from round to round; pieces of the vocabulary go in the first. A round in which rounding leaves everything is none.

    Raises:
        InvalidInputError: Nothing would be left, or heads and width go by two fractions.
    """
    if rounds > 1 and remove.heads and remove.hidden:
        raise InvalidInputError(
            "In steps, heads and hidden width go by the same factor: --hidden takes both.",
            "Leave out --heads or --steps.",
        )
    plan_passes(config, remove)  # refuses what cannot be, before the first round
    before = read_dimensions(config)
    for number in range(1, rounds + 1):
        scaled = _scale(remove, number / rounds)
        after = plan_passes(config, scaled)[-1].after if any(scaled.parts()) else before
        if after != before:
            yield _difference(before, after, remove)
        before = after


def _scale(remove: Removal, share: float) -> Removal:
    scaled = {name: getattr(remove, name) * share for name in SHARES}
    return remove.model_copy(update={**scaled, "layers": round(remove.layers * share)})


def _difference(before: Dimensions, after: Dimensions, remove: Removal) -> Removal:
    """The removal that leads from sizes to sizes; rounding does not move it, for they are whole already."""
    named = [name for name in SHARES if getattr(remove, name)]
    shares = {name: 1 - getattr(after, name) / getattr(before, name) for name in named}
    pieces = after.vocabulary if after.vocabulary != before.vocabulary else None
    layers = before.layers - after.layers
    return remove.model_copy(update={**shares, "layers": layers, "vocabulary": pieces})
