"""A size instead of fractions: one common fraction of some parts is looked for that leads there."""

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from transformers import PretrainedConfig

from compress.errors import InvalidInputError
from compress.models.dimensions import read_dimensions
from compress.pruning.plan import cost_of, plan_passes
from compress.recipes.pruning import Removal

TargetPart = Literal["heads", "ffn", "hidden", "embedding"]
GRAIN = 1000
"""Fractions are looked for in steps of 1 / GRAIN."""
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
SIZE = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmg]?)(?P<byte>b?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """What a pruned model may take at the most.

    Attributes:
        limit: How much.
        of: Of what: bytes of weights in fp32, or parameters, shared ones once.
        parts: Which parts lose the common fraction; the other fractions are as they were given.
    """

    limit: int
    of: Literal["bytes", "parameters"]
    parts: tuple[TargetPart, ...] = ("ffn", "hidden")


def read_bytes(text: str) -> int:
    """A size as people write it, in bytes: 3MB, 800 kB, 2500000; a kilobyte has 1000.

    Raises:
        InvalidInputError: It is none.
    """
    found = SIZE.fullmatch(text)
    if found is None or float(found["number"]) == 0:
        raise InvalidInputError(f"{text!r} is no size.", "Write it as 3MB, 800kB or 2500000 (bytes).")
    return int(float(found["number"]) * UNITS[found["unit"].lower()])


def meet_target(config: PretrainedConfig, remove: Removal, target: Target) -> Removal:
    """The removal with the smallest common fraction that meets a target.

    Args:
        config: Of the model.
        remove: What goes anyway.
        target: How small it is to be.

    Raises:
        InvalidInputError: It is met already, or cannot be; or a part's fraction is both given and looked for.
    """
    both = [part for part in target.parts if getattr(remove, part)]
    if both:
        raise InvalidInputError(
            f"The fraction of {' and '.join(both)} is given, and would be looked for as well.",
            "Leave it out, or name the parts to be shrunk without it: --shrink PART.",
        )
    now = _measure(config, remove, target)
    if now <= target.limit:
        raise InvalidInputError(
            f"The model has {now:,} {target.of}, no more than {target.limit:,}.",
            "Leave out the target, or name a smaller one.",
        )
    possible = [_with(remove, target, fraction) for fraction in range(1, GRAIN)]
    possible = [each for each in possible if _is_possible(config, each)]
    if not possible:
        plan_passes(config, _with(remove, target, GRAIN // 2))  # says why
    least = _measure(config, possible[-1], target)
    if least > target.limit:
        raise InvalidInputError(
            f"With all that {' and '.join(target.parts)} can lose the model still has {least:,} {target.of}, "
            f"more than {target.limit:,}.",
            "Let other parts shrink as well (--shrink embedding), remove layers, or keep fewer pieces of the vocabulary.",
        )
    return possible[
        bisect_left(possible, True, key=lambda each: _measure(config, each, target) <= target.limit)
    ]


def _with(remove: Removal, target: Target, thousandths: int) -> Removal:
    return remove.model_copy(update=dict.fromkeys(target.parts, thousandths / GRAIN))


def _is_possible(config: PretrainedConfig, remove: Removal) -> bool:
    """Whether it leaves something of each part, and widths that go together."""
    try:
        plan_passes(config, remove)
    except InvalidInputError:
        return False
    return True


def _measure(config: PretrainedConfig, remove: Removal, target: Target) -> int:
    passes = plan_passes(config, remove) if any(remove.parts()) else ()
    sizes = passes[-1].after if passes else read_dimensions(config)
    cost = cost_of(config, sizes, flops=False)
    return cost.bytes if target.of == "bytes" else cost.parameters
