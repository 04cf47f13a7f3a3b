"""Where everything of a plot goes, in the SVG's units; no markup, so that the template escapes all."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from compress.reporting.schema import Curve, Interval, Level, Section
from compress.reporting.wording import format_bytes, format_significant

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 14, 46
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
"""The edges of a plot, for the template."""
CURVE_WIDTH, CURVE_HEIGHT = 240, 130
LETTER, LINE = 6.7, 15
"""Width and height of a letter of a label at 12 units; on the wide side, to keep labels apart."""
LONGEST_LABEL = 30
Corner = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """What a plot shows of one run; `across` is the spread of `x` where it has one."""

    label: str
    x: float
    y: Interval
    across: Interval | None
    baseline: bool


@dataclass(frozen=True)
class Box:
    """A rectangle that no label may cover."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


@dataclass(frozen=True)
class Mark:
    """A point with error bars and label, in the SVG's units; `leader` where the label stands apart."""

    label: str
    x: float
    y: float
    low: float
    high: float
    left: float
    right: float
    baseline: bool
    box: Box
    leader: bool

    @property
    def anchor(self) -> tuple[float, float]:
        """Where a leader meets the label: the nearest point of its box."""
        x = min(max(self.x, self.box.left), self.box.right)
        y = min(max(self.y, self.box.top), self.box.bottom)
        return round(x, 1), round(y, 1)


@dataclass(frozen=True)
class Tick:
    """A line of the grid and what is written at it."""

    at: float
    label: str


@dataclass(frozen=True)
class Plot:
    """Score against a quantity of which less is better, on a logarithmic axis."""

    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    front: str
    description: str


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


def plot_bytes(section: Section) -> Plot | None:
    """Score against bytes on disk; None with fewer than two comparable runs."""
    points = [
        Point(row.short, row.bytes, row.primary.score, None, row.run.id == section.baseline)
        for row in section.rows
        if row.primary and row.primary.comparable and row.bytes > 0
    ]
    return _plot(points, "Bytes on disk (log)", section.metric, lambda value: format_bytes(value, 2))


def plot_latency(section: Section) -> Plot | None:
    """Score against latency in the comparison's sessions; None with fewer than two runs that have both."""
    column = section.timing
    points = []
    for row in section.rows:
        timing = column.find(row.run.id) if column else None
        if timing and row.primary and row.primary.comparable:
            times = timing.milliseconds
            points.append(
                Point(row.short, times.value, row.primary.score, times, row.run.id == section.baseline)
            )
    return _plot(
        points, "Milliseconds a batch (log)", section.metric, lambda value: format_significant(value, 2)
    )


def _plot(points: Sequence[Point], x_title: str, metric: str, write: Callable[[float], str]) -> Plot | None:
    if len(points) < 2:
        return None
    lows, highs = (
        [p.across.low if p.across else p.x for p in points],
        [p.across.high if p.across else p.x for p in points],
    )
    x_axis = _LogAxis(min(lows), max(highs))
    y_axis = _LinearAxis(min(point.y.low for point in points), max(point.y.high for point in points))
    front = _list_corners(points, x_axis, y_axis)
    marks = place_labels([_mark(point, x_axis, y_axis) for point in points], front)
    named = "; ".join(f"{point.label}: {write(point.x)}, {point.y.value:.3f}" for point in points)
    return Plot(
        x_title=x_title,
        y_title=metric.replace("_", " "),
        x_ticks=tuple(Tick(x_axis.place(value), write(value)) for value in x_axis.ticks()),
        y_ticks=tuple(Tick(y_axis.place(value), y_axis.write(value)) for value in y_axis.ticks()),
        marks=marks,
        front="M" + "L".join(f"{x} {y}" for x, y in front),
        description=f"{metric.replace('_', ' ')} against {x_title.lower()}. {named}.",
    )


class _LogAxis:
    """Places positive values from left to right by their logarithm, with room at either end."""

    def __init__(self, low: float, high: float) -> None:
        margin = max(math.log10(high / low) * 0.12, 0.08)
        self.low, self.high = math.log10(low) - margin, math.log10(high) + margin

    def place(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        found: list[float] = []
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), [1 + step / 10 for step in range(90)]):
            values = [digit * 10.0**power for power in powers for digit in digits]
            found = [value for value in values if self.low <= math.log10(value) <= self.high]
            if len(found) >= 3:
                break
        return found[:: max(1, len(found) // 4)]


class _LinearAxis:
    """Places scores from bottom to top, with room at either end."""

    def __init__(self, low: float, high: float) -> None:
        margin = max((high - low) * 0.08, 0.004)
        self.low, self.high = low - margin, high + margin
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / 10))
        steps = [digit * power * scale for scale in (1, 10) for digit in (1, 2, 2.5, 5)]
        self.step = next(step for step in steps if (self.high - self.low) / step <= 6)

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def write(self, value: float) -> str:
        decimals = 2 if math.isclose(self.step, round(self.step, 2)) else 3
        return f"{value:.{decimals}f}".replace("-", "−")

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return [index * self.step for index in range(first, last + 1)]


def _mark(point: Point, x_axis: _LogAxis, y_axis: _LinearAxis) -> Mark:
    x, y = x_axis.place(point.x), y_axis.place(point.y.value)
    label = point.label
    if len(label) > LONGEST_LABEL:  # what tells two runs apart stands at the end
        label = f"{label[: LONGEST_LABEL - 13]}…{label[-12:]}"
    return Mark(
        label=label,
        x=x,
        y=y,
        low=y_axis.place(point.y.low),
        high=y_axis.place(point.y.high),
        left=x_axis.place(point.across.low) if point.across else x,
        right=x_axis.place(point.across.high) if point.across else x,
        baseline=point.baseline,
        box=Box(x, y, x, y),
        leader=False,
    )


def place_labels(marks: Sequence[Mark], front: Sequence[Corner]) -> tuple[Mark, ...]:
    """Give each mark the nearest place for its label that covers no label, mark, error bar or part of the front."""
    taken = [box for mark in marks for box in _occupied(mark)]
    for (x, y), (next_x, next_y) in pairwise(front):
        taken.append(Box(min(x, next_x) - 1, min(y, next_y) - 1, max(x, next_x) + 1, max(y, next_y) + 1))
    labels: list[Box] = []
    placed = []
    for mark in sorted(marks, key=lambda mark: (mark.y, mark.x)):
        candidates = _candidates(mark, len(mark.label) * LETTER)
        box, far = min(candidates, key=lambda each: _cost(each[0], taken, labels) + each[1] / 10)
        labels.append(box)
        placed.append(replace(mark, box=box, leader=far > 20))
    return tuple(placed)


def _occupied(mark: Mark) -> tuple[Box, Box, Box]:
    return (
        Box(mark.x - 6, mark.y - 6, mark.x + 6, mark.y + 6),
        Box(mark.x - 3, mark.high, mark.x + 3, mark.low),
        Box(mark.left, mark.y - 3, mark.right, mark.y + 3),
    )


def _candidates(mark: Mark, width: float) -> Iterator[tuple[Box, float]]:
    """Places of a label with their distance: beside the mark, a little above or below, then anywhere."""
    middle = mark.y - LINE / 2
    for shift in (0, -14, 14, -28, 28):
        for x, far in ((mark.right + 9, 0.0), (mark.left - 9 - width, 1.0), (mark.x - width / 2, 2.0)):
            yield Box(x, middle + shift, x + width, middle + shift + LINE), abs(shift) * 0.7 + far
    for y in range(0, HEIGHT - BOTTOM - LINE, 8):
        for x in range(LEFT, max(LEFT + 1, int(WIDTH - width)), 10):
            nearest = math.hypot(max(x - mark.x, mark.x - x - width, 0), y - middle)
            yield Box(x, y, x + width, y + LINE), 25 + nearest


def _cost(box: Box, taken: Sequence[Box], labels: Sequence[Box]) -> float:
    inside = box.overlap(Box(LEFT, 0, WIDTH, HEIGHT - BOTTOM))
    outside = (box.right - box.left) * LINE - inside
    return 4 * outside + sum(map(box.overlap, taken)) + 9 * sum(map(box.overlap, labels))


def _list_corners(points: Sequence[Point], x_axis: _LogAxis, y_axis: _LinearAxis) -> list[Corner]:
    """The corners of a staircase through the points that none beats in both: what is reachable at each x."""
    best = -math.inf
    corners: list[Corner] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y.value)):
        if point.y.value > best:
            best = point.y.value
            x, y = x_axis.place(point.x), y_axis.place(best)
            corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (WIDTH - RIGHT, corners[-1][1])]


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
