"""What a training log says, as curves that a small plot can show."""

import math
from collections.abc import Mapping, Sequence

from compress.reporting.schema import Curve

SPEEDS = frozenset({"eval_runtime", "eval_samples_per_second", "eval_steps_per_second"})
"""What a history tells of the machine, which no curve shows."""
CURVE_POINTS = 240
"""At most so many points of a curve are kept: as many as a small plot can show."""


def read_curves(history: Sequence[Mapping[str, object]]) -> tuple[Curve, ...]:
    """The training loss, then what was seen on the hold-out, each with two values at the least."""
    names = {name for line in history for name in line if name == "loss" or name.startswith("eval_")} - SPEEDS
    curves = (_read_curve(name, history) for name in sorted(names, key=lambda name: (name != "loss", name)))
    return tuple(curve for curve in curves if len(curve.steps) > 1)


def _read_curve(name: str, history: Sequence[Mapping[str, object]]) -> Curve:
    """The finite values of one quantity, thinned evenly where there are more than a plot can show."""
    points = [(line.get("step"), line.get(name)) for line in history]
    kept = [
        (int(step), float(value))
        for step, value in points
        if isinstance(step, int | float) and isinstance(value, int | float) and math.isfinite(value)
    ]
    if len(kept) > CURVE_POINTS:
        last = len(kept) - 1
        kept = [kept[round(index * last / (CURVE_POINTS - 1))] for index in range(CURVE_POINTS)]
    return Curve(name=name, steps=tuple(step for step, _ in kept), values=tuple(value for _, value in kept))
