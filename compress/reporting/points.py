"""What a chart shows of a section's models: those that differ in their seeds alone are one point."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from compress.recipes.stages import Distill, Finetune, Prune, Quantize
from compress.reporting.candidates import Candidate, list_candidates
from compress.reporting.marks import Shape
from compress.reporting.schema import Interval, Row, Section

Measure = Callable[[Candidate], Interval | None]
"""A model's cost, with its spread; None where it was not measured."""


@dataclass(frozen=True)
class Point:
    """One model, or the mean of several that differ in their seeds; `across` is the spread of `x` where it has one.

    `runs` are the ids of all that it stands for, `singles` the scores of the single seeds.
    """

    label: str
    x: float
    y: Interval
    across: Interval | None
    baseline: bool
    shape: Shape = "other"
    runs: tuple[str, ...] = ()
    singles: tuple[float, ...] = ()


def list_points(section: Section, measure: Measure) -> list[Point]:
    """The points of all models that have a comparable score and a cost.

    Args:
        section: Of the models.
        measure: What is on the other axis.
    """
    points = (_show(section, candidate, measure) for candidate in list_candidates(section))
    return [point for point in points if point is not None]


def drop_shared_name(points: Sequence[Point]) -> tuple[list[Point], str]:
    """The points with their labels cut by the name that all but the baseline begin with, and that name or nothing."""
    heads = {point.label.partition(" · ")[::2] for point in points if not point.baseline}
    names = {name for name, _ in heads}
    if len(names) != 1 or len(heads) < 2 or not all(rest for _, rest in heads):
        return list(points), ""
    cut = [
        point if point.baseline else replace(point, label=point.label.partition(" · ")[2]) for point in points
    ]
    return cut, names.pop()


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
