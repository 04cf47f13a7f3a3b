"""Where a training log's lines go, in the SVG's units."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from compress.reporting.formats import format_significant
from compress.reporting.schema import Curve, Level
from compress.reporting.wording import join_names

CURVE_WIDTH, CURVE_HEIGHT = 240, 130
TENTHS = 10
"""Paths are in tenths of a unit."""


@dataclass(frozen=True)
class CurvePlot:
    """Quantities of training logs as lines, with what their axes end at; `level` is what they are compared with.

    `paths` are of the quantity that gives the plot its name, one a run, `beside` those that stand beside it.
    """

    name: str
    paths: tuple[str, ...]
    beside: tuple[str, ...]
    low: str
    high: str
    first: int
    last: int
    description: str
    level: Level | None = None
    level_path: str = ""


def plot_curves(
    curves: Sequence[Curve], *, beside: Sequence[Curve] = (), name: str | None = None
) -> CurvePlot:
    """Curves of one quantity, a run each, and the level that they are compared with; a constant one lies in the middle.

    Args:
        curves: One or more, with one value or more.
        beside: Others on the same axes.
        name: What the reader calls the quantity; default as the log does.
    """
    level = next((curve.level for curve in curves if curve.level), None)
    shown = [*curves, *beside]
    seen = [value for curve in shown for value in curve.values] + ([level.value] if level else [])
    low, high = min(seen), max(seen)
    first, last = min(curve.steps[0] for curve in shown), max(curve.steps[-1] for curve in shown)

    def place(value: float) -> float:
        return CURVE_HEIGHT - 2 - ((value - low) / (high - low) if high > low else 0.5) * (CURVE_HEIGHT - 4)

    def draw(curve: Curve) -> str:
        return _write_path(
            [
                ((step - first) / ((last - first) or 1) * (CURVE_WIDTH - 2) + 1, place(value))
                for step, value in zip(curve.steps, curve.values, strict=True)
            ]
        )

    name = name or curves[0].name.replace("_", " ")
    told = f"; {level.name} {level.value:.3g}" if level else ""
    told = f"; on the hold-out {_tell_ends(beside)}{told}" if beside else told
    return CurvePlot(
        name=name,
        paths=tuple(map(draw, curves)),
        beside=tuple(map(draw, beside)),
        low=format_significant(low),
        high=format_significant(high),
        first=first,
        last=last,
        description=f"{name} {_tell_ends(curves)}{told}.",
        level=level,
        level_path=_write_path([(1, place(level.value)), (CURVE_WIDTH - 1, place(level.value))])
        if level
        else "",
    )


def _tell_ends(curves: Sequence[Curve]) -> str:
    """Where lines begin and end: from 3 and 2 at step 0 to 1 and 2 at steps 100 and 50."""
    return f"from {_tell_places(curves, 0)} to {_tell_places(curves, -1)}"


def _tell_places(curves: Sequence[Curve], place: int) -> str:
    steps = [curve.steps[place] for curve in curves]
    values = join_names([f"{curve.values[place]:.3g}" for curve in curves])
    if len(set(steps)) == 1:
        return f"{values} at step {steps[0]}"
    return f"{values} at steps {join_names(list(map(str, steps)))}"


def _write_path(points: Sequence[tuple[float, float]]) -> str:
    """A line in whole tenths, each corner counted from the one before: short, without an error that adds up."""
    corners = [(round(TENTHS * x), round(TENTHS * y)) for x, y in points]
    steps = ((x - left, y - top) for (left, top), (x, y) in pairwise(corners))
    return f"M{corners[0][0]} {corners[0][1]}" + "".join(f"l{across} {down}" for across, down in steps)
