"""A chart of scores against costs: where everything of it goes, in the SVG's units; no markup, so that the template escapes all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress.reporting.arrows import Arrow
from compress.reporting.axes import LinearAxis, LogAxis
from compress.reporting.marks import (
    HEIGHT,
    LEFT,
    LETTER,
    LONGEST_LABEL,
    RIGHT,
    WIDTH,
    Box,
    Corner,
    Mark,
    Shape,
    place_labels,
)
from compress.reporting.points import Point, list_front
from compress.reporting.wording import name_metric

LEGEND_LINE = 20
ROOM = 9
"""What an arrow leaves free around the marks that it joins."""
WORDS: dict[Shape, str] = {
    "baseline": "baseline",
    "distilled": "distilled",
    "quantized": "quantized",
    "pruned": "pruned",
    "labels": "labels alone",
    "other": "other",
}


@dataclass(frozen=True)
class Tick:
    """A line of the grid and what is written at it."""

    at: float
    label: str


@dataclass(frozen=True)
class ArrowPath:
    """An arrow of the lineage, as two paths; weights went on, or a teacher taught."""

    line: str
    head: str
    kind: str


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a shape, and what it stands for."""

    x: float
    y: float
    shape: Shape
    text: str


@dataclass(frozen=True)
class Plot:
    """Score against a quantity of which less is better, on a logarithmic axis; `shared` is the name cut from its labels.

    `numbers` are what stands at a mark instead of a name, and the name.
    """

    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    front: str
    arrows: tuple[ArrowPath, ...]
    legend: tuple[Key, ...]
    height: int
    name: str
    description: str
    numbers: tuple[tuple[int, str], ...] = ()
    shared: str = ""


def draw(
    points: Sequence[Point],
    x_title: str,
    metric: str,
    write: Callable[[float], str],
    *,
    arrows: Sequence[Arrow] = (),
) -> Plot:
    """A plot of two points or more; `write` words a value of the horizontal axis."""
    lows, highs = zip(
        *((p.across.low, p.across.high) if p.across else (p.x, p.x) for p in points), strict=True
    )
    x_axis = LogAxis(min(lows), max(highs))
    seen = [score for point in points for score in (point.y.low, point.y.high, *point.singles)]
    y_axis = LinearAxis(min(seen), max(seen))
    front = _list_corners(points, x_axis, y_axis)
    marks = [_mark(point, x_axis, y_axis) for point in points]
    legend, height = _place_legend(tuple(dict.fromkeys(point.shape for point in points)))
    named = "; ".join(
        f"{'' if point.number is None else f'{point.number} '}{point.label}: {write(point.x)}, {point.y.value:.3f}"
        for point in points
    )
    return Plot(
        x_title=x_title,
        y_title=name_metric(metric),
        x_ticks=tuple(Tick(x_axis.place(value), write(value)) for value in x_axis.ticks()),
        y_ticks=tuple(Tick(y_axis.place(value), y_axis.write(value)) for value in y_axis.ticks()),
        marks=place_labels(marks, front, [(arrow.start, arrow.end) for arrow in arrows]),
        front="M" + "L".join(f"{x} {y}" for x, y in front),
        arrows=tuple(path for path in (_draw_arrow(marks, arrow) for arrow in arrows) if path),
        legend=legend,
        height=height,
        name=f"{name_metric(metric)} against {x_title.lower()}",
        description=f"{named}.",
        numbers=tuple(sorted((point.number, point.label) for point in points if point.number is not None)),
    )


def list_numbers(plots: Sequence[Plot]) -> list[tuple[int, str]]:
    """What stands at the marks of charts of the same models instead of their names, and these."""
    return sorted({number: name for plot in reversed(plots) for number, name in plot.numbers}.items())


def _draw_arrow(marks: Sequence[Mark], arrow: Arrow) -> ArrowPath | None:
    """A line from mark to mark with a head at its end; None where the two are too close for one."""
    start, end = marks[arrow.start], marks[arrow.end]
    length = math.hypot(end.x - start.x, end.y - start.y)
    if length < 2 * ROOM + 6:
        return None
    across, down = (end.x - start.x) / length, (end.y - start.y) / length
    tip = end.x - ROOM * across, end.y - ROOM * down
    sides = [
        (tip[0] - 7 * across - side * 3 * down, tip[1] - 7 * down + side * 3 * across) for side in (1, -1)
    ]
    begin = (start.x + ROOM * across, start.y + ROOM * down)
    line, head = ([begin, tip], [sides[0], tip, sides[1]])
    return ArrowPath(_write_path(line), _write_path(head), arrow.kind)


def _write_path(points: Sequence[Corner]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _place_legend(shapes: Sequence[Shape]) -> tuple[tuple[Key, ...], int]:
    """The legend below the plot, in as many lines as it needs, and the height of it all."""
    keys: list[Key] = []
    x, y = float(LEFT), HEIGHT + 12.0
    for shape in shapes:
        width = len(WORDS[shape]) * LETTER + 30
        if x + width > WIDTH and x > LEFT:
            x, y = float(LEFT), y + LEGEND_LINE
        keys.append(Key(round(x + 6, 1), y, shape, WORDS[shape]))
        x += width
    return tuple(keys), int(y) + 12


def _mark(point: Point, x_axis: LogAxis, y_axis: LinearAxis) -> Mark:
    x, y = x_axis.place(point.x), y_axis.place(point.y.value)
    return Mark(
        lines=wrap_label(point.label) if point.number is None else (str(point.number),),
        x=x,
        y=y,
        low=y_axis.place(point.y.low),
        high=y_axis.place(point.y.high),
        left=x_axis.place(point.across.low) if point.across else x,
        right=x_axis.place(point.across.high) if point.across else x,
        box=Box(x, y, x, y),
        leader=False,
        shape=point.shape,
        dots=tuple(y_axis.place(score) for score in point.singles),
        numbered=point.number is not None,
        important=point.chosen or point.baseline,
        bold=point.chosen,
    )


def wrap_label(label: str) -> tuple[str, ...]:
    """A label in one line, or in two where it is too long for one; cut only where these are too short, too."""
    if len(label) <= LONGEST_LABEL:
        return (label,)
    words = label.split(" ")
    cuts = [(" ".join(words[:place]), " ".join(words[place:])) for place in range(1, len(words))]
    best = min(cuts, key=lambda cut: max(map(len, cut)), default=(label,))
    if max(map(len, best)) <= LONGEST_LABEL:
        return best
    return (shorten_label(label),)


def shorten_label(label: str) -> str:
    """A label that fits, cut between words: it begins and ends as it did, for what tells two runs apart may stand at the end."""
    if len(label) <= LONGEST_LABEL:
        return label
    words = label.split(" ")
    cuts = [
        f"{' '.join(words[:start])} … {' '.join(words[end:])}"
        for start in range(1, len(words))
        for end in range(start + 1, len(words))
    ]
    fitting = [cut for cut in cuts if len(cut) <= LONGEST_LABEL]
    return max(fitting, key=len, default=f"{label[: LONGEST_LABEL - 13]}…{label[-12:]}")


def _list_corners(points: Sequence[Point], x_axis: LogAxis, y_axis: LinearAxis) -> list[Corner]:
    """The corners of a staircase through the points that none beats in both: what is reachable at each x."""
    corners: list[Corner] = []
    for point in list_front(points):
        x, y = x_axis.place(point.x), y_axis.place(point.y.value)
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (WIDTH - RIGHT, corners[-1][1])]
