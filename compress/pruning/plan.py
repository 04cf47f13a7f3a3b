"""From fractions to sizes: which passes there are, what each leaves, and what that costs; no weight is read."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import PretrainedConfig

from compress.encoder import build_empty, count_parameters, longest_input
from compress.errors import InvalidInputError
from compress.flops import count_flops
from compress.models.dimensions import Dimensions, read_dimensions, resize_config
from compress.pruning.depth import require_layers_left
from compress.recipes.pruning import ROUNDED_TO, Removal

BYTES_OF_WEIGHT = 4
BYTES_OF_ENTRY = 90
"""Of a tensor in the header of a safetensors file, its name left out; a few more than there are."""
LENGTH = 128
"""Tokens of the text that operations are counted for."""


@dataclass(frozen=True)
class Pass:
    """One kind of removal.

    Attributes:
        part: What is removed, by its name in the recipe.
        share: How much of it was asked to go; of pieces, how many are to stay.
        before: The sizes that it finds.
        after: The sizes that it leaves.
    """

    part: str
    share: float
    before: Dimensions
    after: Dimensions

    def describe(self) -> str:
        """Before and after, and what was asked where rounding made another thing of it: ffn 1200 → 304 (0.75 asked)."""
        if self.part == "sparsity":
            return f"sparsity {self.share:g}: zeros in each matrix, which no kernel here makes use of"
        fields = {"hidden": ("hidden", "heads"), "embedding": ("embedding",)}.get(self.part, (self.part,))
        changes = [(name, getattr(self.before, name), getattr(self.after, name)) for name in fields]
        text = ", ".join(f"{name} {old} → {new}" for name, old, new in changes)
        _, old, new = changes[0]
        exact = self.part in ("vocabulary", "layers") or math.isclose(1 - new / old, self.share, abs_tol=1e-9)
        return (
            text
            if exact
            else f"{text} ({self.share:g} asked, {1 - new / old:.3g} with whole heads and eights)"
        )


@dataclass(frozen=True)
class Cost:
    """What a model of some sizes takes.

    Attributes:
        parameters: Shared ones once.
        bytes: Of the file of weights, in fp32.
        flops: Of one text of `LENGTH` tokens; None where it cannot be told.
    """

    parameters: int
    bytes: int
    flops: int | None

    def describe(self) -> str:
        """In a few words: 5.31 M parameters, 21.2 MB, 1.29 GFLOP at 1 × 128."""
        flops = f", {self.flops / 1e9:.3g} GFLOP at 1 × {LENGTH}" if self.flops is not None else ""
        return f"{self.parameters / 1e6:.3g} M parameters, {self.bytes / 1e6:.3g} MB in fp32{flops}"


def plan_passes(config: PretrainedConfig, remove: Removal) -> tuple[Pass, ...]:
    """The passes of a removal, in their order.

    Raises:
        InvalidInputError: Nothing would go, or nothing would be left, or the model has no such part.
    """
    sizes = read_dimensions(config)
    passes: list[Pass] = []
    for part, share in remove.parts():
        if part == "layers":
            require_layers_left(config, remove.layers)
        after = LEFT[part](sizes, remove)
        passes.append(Pass(part, share, sizes, after))
        resize_config(config, after)  # refuses what no configuration can say
        sizes = after
    if not passes:
        raise InvalidInputError(
            "Nothing would be removed.", "Say what: --ffn 0.5, --hidden 0.25, --heads 0.5, --layers 2."
        )
    return tuple(passes)


def cost_of(config: PretrainedConfig, sizes: Dimensions, *, flops: bool = True) -> Cost:
    """What a model of these sizes takes.

    Args:
        config: Of the model as it is.
        sizes: What it would have.
        flops: Whether operations are counted, too.
    """
    resized = resize_config(config, sizes)
    empty = build_empty(resized)
    parameters = count_parameters(empty)
    header = sum(len(name) + BYTES_OF_ENTRY for name, _ in empty.named_parameters())
    fits = flops and longest_input(resized) >= LENGTH
    counted = count_flops(resized, batch=1, length=LENGTH) if fits else None
    return Cost(parameters, BYTES_OF_WEIGHT * parameters + header, counted)


def describe_passes(config: PretrainedConfig, passes: Sequence[Pass]) -> tuple[str, ...]:
    """A line for the model as it is, and one for each pass, with what the model takes then."""
    before = cost_of(config, read_dimensions(config))
    lines = [f"as it is: {before.describe()}"]
    lines += [f"{each.describe()}: {cost_of(config, each.after).describe()}" for each in passes]
    return tuple(lines)


def _trim_vocabulary(sizes: Dimensions, remove: Removal) -> Dimensions:
    pieces = remove.pieces or sizes.vocabulary
    if pieces >= sizes.vocabulary:
        raise InvalidInputError(
            f"--vocabulary {pieces} removes nothing: the word table has {sizes.vocabulary} rows.",
            "Name the number of pieces to keep, fewer than that.",
        )
    return replace(sizes, vocabulary=pieces)


def _drop_layers(sizes: Dimensions, remove: Removal) -> Dimensions:
    return replace(sizes, layers=sizes.layers - remove.layers)


def _narrow_heads(sizes: Dimensions, remove: Removal) -> Dimensions:
    return replace(sizes, heads=_left(sizes.heads, remove.heads, "heads"))


def _narrow_ffn(sizes: Dimensions, remove: Removal) -> Dimensions:
    return replace(sizes, ffn=_left(sizes.ffn, remove.ffn, "ffn", unit=ROUNDED_TO))


def _narrow_hidden(sizes: Dimensions, remove: Removal) -> Dimensions:
    """Heads go by the same factor, whole, and decide; where heads have a fraction of their own the width goes alone."""
    if remove.heads:
        return replace(sizes, hidden=_left(sizes.hidden, remove.hidden, "hidden", unit=ROUNDED_TO))
    heads = _left(sizes.heads, remove.hidden, "hidden")
    if sizes.hidden % sizes.heads == 0:
        return replace(sizes, heads=heads, hidden=heads * (sizes.hidden // sizes.heads))
    return replace(sizes, heads=heads, hidden=_left(sizes.hidden, remove.hidden, "hidden", unit=ROUNDED_TO))


def _narrow_embedding(sizes: Dimensions, remove: Removal) -> Dimensions:
    if sizes.embedding is None:
        raise InvalidInputError(
            f"The embedding tables of this {sizes.family} are as wide as its layers: they have no width of their own.",
            "Leave out --embedding; --hidden makes both narrower.",
        )
    return replace(sizes, embedding=_left(sizes.embedding, remove.embedding, "embedding", unit=ROUNDED_TO))


def _keep(sizes: Dimensions, _: Removal) -> Dimensions:
    return sizes


LEFT: Mapping[str, Callable[[Dimensions, Removal], Dimensions]] = {
    "vocabulary": _trim_vocabulary,
    "layers": _drop_layers,
    "heads": _narrow_heads,
    "ffn": _narrow_ffn,
    "hidden": _narrow_hidden,
    "embedding": _narrow_embedding,
    "sparsity": _keep,
}
"""A part's name → the sizes that its removal leaves."""


def _left(count: int, share: float, option: str, *, unit: int = 1) -> int:
    """How many stay, in whole units; a half stays.

    Raises:
        InvalidInputError: None would.
    """
    left = unit * math.floor(round(count * (1 - share) / unit, 6) + 0.5)
    if left == 0:
        what = f"none of the {count} heads" if unit == 1 else f"nothing of the {option} width {count}"
        most = math.floor(100 * (1 - unit / count)) / 100
        raise InvalidInputError(
            f"--{option} {share:g} would leave {what}.",
            f"Remove {most:g} at the most." if most > 0 else f"Leave out --{option}.",
        )
    return min(left, count)
