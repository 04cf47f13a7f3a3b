"""A size instead of fractions: one common fraction of some parts is looked for that leads there."""

import re
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
        InvalidInputError: It is met already, or cannot be.
    """
    now = _measure(config, remove, target)
    if now <= target.limit:
        raise InvalidInputError(
            f"The model has {now:,} {target.of}, no more than {target.limit:,}.",
            "Leave out the target, or name a smaller one.",
        )
    low, high = 0, _largest(config, remove, target)
    least = _measure(config, _with(remove, target, high), target)
    if least > target.limit:
        raise InvalidInputError(
            f"With all that {' and '.join(target.parts)} can lose the model still has {least:,} {target.of}, "
            f"more than {target.limit:,}.",
            "Let other parts shrink as well (--shrink embedding), remove layers, or keep fewer pieces of the vocabulary.",
        )
    while high - low > 1:
        middle = (low + high) // 2
        fits = _measure(config, _with(remove, target, middle), target) <= target.limit
        low, high = (low, middle) if fits else (middle, high)
    return _with(remove, target, high)


def _with(remove: Removal, target: Target, thousandths: int) -> Removal:
    return remove.model_copy(update=dict.fromkeys(target.parts, thousandths / GRAIN))


def _largest(config: PretrainedConfig, remove: Removal, target: Target) -> int:
    """The largest fraction that leaves something of each part."""
    low, high = 0, GRAIN
    while high - low > 1:
        middle = (low + high) // 2
        try:
            plan_passes(config, _with(remove, target, middle))
            low = middle
        except InvalidInputError:
            high = middle
    return low


def _measure(config: PretrainedConfig, remove: Removal, target: Target) -> int:
    passes = plan_passes(config, remove) if any(remove.parts()) else ()
    sizes = passes[-1].after if passes else read_dimensions(config)
    cost = cost_of(config, sizes, flops=False)
    return cost.bytes if target.of == "bytes" else cost.parameters
