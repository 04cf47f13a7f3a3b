"""What a chart shows of a section's models: those that differ in their seeds alone are one point."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from compress.recipes.stages import Distill, Finetune, Prune, Quantize
from compress.reporting.candidates import Candidate, keep_front, list_candidates
from compress.reporting.lineage import shorten_run
from compress.reporting.marks import Shape
from compress.reporting.schema import Interval, Row, Section

Measure = Callable[[Candidate], Interval | None]
"""A model's cost, with its spread; None where it was not measured."""
MOST_NAMED = 6
"""Of more models than these a chart names the baseline, the headline's model and the front; the others have numbers."""


@dataclass(frozen=True)
class Point:
    """One model, or the mean of several that differ in their seeds; `across` is the spread of `x` where it has one.

    `runs` are the ids of all that it stands for, `singles` the scores of the single seeds. `chosen` is the headline's model.
    `number` stands at its mark where the label would take too much room. `last` is what was done to it last, in a word.
    """

    label: str
    x: float
    y: Interval
    across: Interval | None
    baseline: bool
    shape: Shape = "other"
    runs: tuple[str, ...] = ()
    singles: tuple[float, ...] = ()
    chosen: bool = False
    number: int | None = None
    last: str = ""


def list_points(section: Section, measure: Measure) -> list[Point]:
    """The points of all models that have a comparable score and a cost.

    Args:
        section: Of the models.
        measure: What is on the other axis.
    """
    points = (_show(section, candidate, measure) for candidate in list_candidates(section))
    return [point for point in points if point is not None]


def list_front(points: Sequence[Point]) -> list[Point]:
    """The points that none beats in both cost and score, the cheapest first."""
    return keep_front(points, lambda point: (point.x, point.y.value))


def number_points(charts: Sequence[Sequence[Point]]) -> list[list[Point]]:
    """The charts with numbers for the points that they do not name, from left to right; a model has the same one on all.

    Args:
        charts: Of the same models, called the same on each.
    """
    if max(map(len, charts)) <= MOST_NAMED:
        return [list(points) for points in charts]
    unnamed = [{point.label: None for point in _list_unnamed(points)} for points in charts]
    numbers = {label: place for place, label in enumerate(dict.fromkeys(chain(*unnamed)), start=1)}
    return [
        [replace(point, number=numbers[point.label]) if point.label in here else point for point in points]
        for points, here in zip(charts, unnamed, strict=True)
    ]


def _list_unnamed(points: Sequence[Point]) -> list[Point]:
    front = list_front(points)
    named = {point.label for point in points if point.baseline or point.chosen or point in front}
    unnamed = (point for point in points if point.label not in named)
    return sorted(unnamed, key=lambda point: (point.x, -point.y.value))


def drop_shared_name(points: Sequence[Point]) -> tuple[list[Point], str]:
    """The points with their labels cut by the name that all but the baseline begin with, and that name or nothing.

    One that is called by the name alone is called by what was done to it last.
    """
    names = {point.label.partition(" · ")[0] for point in points if not point.baseline}
    rests = [point.label.partition(" · ")[2] or point.last for point in points if not point.baseline]
    if len(names) != 1 or len(rests) < 2 or len(set(rests)) < len(rests) or not all(rests):
        return list(points), ""
    told = iter(rests)
    return [point if point.baseline else replace(point, label=next(told)) for point in points], names.pop()


def shorten_names(points: Sequence[Point]) -> list[Point]:
    """The points with a label of name and last stage in place of a longer one that says no more, where no other has it.

    How a pupil was taught is told at length: distilled (tinybert) from minilm-l6. What has a longer history keeps it.
    """
    labels = [point.label for point in points]
    briefs = [f"{point.label.partition(' · ')[0]} · {point.last}" for point in points]
    return [
        replace(point, label=brief)
        if point.last
        and point.label.count(" · ") == 1
        and len(brief) < len(point.label)
        and briefs.count(brief) == 1
        and brief not in labels
        else point
        for point, brief in zip(points, briefs, strict=True)
    ]


def _show(section: Section, one: Candidate, measure: Measure) -> Point | None:
    cost = measure(one)
    if cost is None or one.score is None or not one.comparable:
        return None
    base = one.is_baseline
    return Point(
        label=one.name,
        x=cost.value,
        y=one.score,
        across=cost if cost.high > cost.low else None,
        baseline=base,
        shape=choose_shape(one.rows[0], base),
        runs=one.runs,
        singles=tuple(row.primary.score.value for row in one.rows if one.group and row.primary),
        chosen=section.headline is not None and section.headline.run in one.runs,
        last=shorten_run(one.rows[0].run),
    )


def choose_shape(row: Row, baseline: bool) -> Shape:
    """What its mark looks like: by the last stage that made it; what recovered is as it was pruned."""
    if baseline:
        return "baseline"
    match row.run.stage:
        case Quantize():
            return "quantized"
        case Prune() | Distill(method="recovery", simulates=None):
            return "pruned"
        case Distill():
            return "distilled"
        case Finetune():
            return "labels"
    return "other"
