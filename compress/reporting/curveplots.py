"""Where a training log's lines go, in the SVG's units."""

from dataclasses import dataclass

from compress.reporting.schema import Curve, Level
from compress.reporting.wording import format_significant

CURVE_WIDTH, CURVE_HEIGHT = 240, 130


@dataclass(frozen=True)
class CurvePlot:
    """One quantity of a training log as a line, with what its axes end at; `level` is what it is compared with."""

    name: str
    path: str
    low: str
    high: str
    first: int
    last: int
    description: str
    level: Level | None = None
    level_path: str = ""


def plot_curve(curve: Curve, name: str | None = None) -> CurvePlot:
    """A curve of a training log, and the level that it is compared with; a constant one lies in the middle.

    Args:
        curve: With one value or more.
        name: What the reader calls the quantity; default as the log does.
    """
    seen = [*curve.values, *([curve.level.value] if curve.level else [])]
    low, high = min(seen), max(seen)
    first, last = curve.steps[0], curve.steps[-1]

    def place(value: float) -> float:
        return CURVE_HEIGHT - 2 - ((value - low) / (high - low) if high > low else 0.5) * (CURVE_HEIGHT - 4)

    points = [
        f"{(step - first) / ((last - first) or 1) * (CURVE_WIDTH - 2) + 1:.1f} {place(value):.1f}"
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    name = name or curve.name.replace("_", " ")
    ends = f"from {curve.values[0]:.3g} at step {first} to {curve.values[-1]:.3g} at step {last}"
    level = curve.level
    beside = f"; {level.name} {level.value:.3g}" if level else ""
    return CurvePlot(
        name=name,
        path=f"M{'L'.join(points)}",
        low=format_significant(low),
        high=format_significant(high),
        first=first,
        last=last,
        description=f"{name} {ends}{beside}.",
        level=level,
        level_path=f"M1 {place(level.value):.1f}H{CURVE_WIDTH - 1}" if level else "",
    )
