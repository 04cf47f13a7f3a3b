"""What a chart shows of a section's models: those that differ in their seeds alone are one point."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from compress.recipes.stages import Distill, Finetune, Prune, Quantize
from compress.reporting.lineage import name_group
from compress.reporting.marks import Shape
from compress.reporting.schema import Interval, Row, Section, SeedGroup

Measure = Callable[[Row], Interval | None]
"""A row's cost, with its spread; None where it was not measured."""


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
        measure: What is on the other axis; of a group its first run stands for all that were measured.
    """
    groups = [group for group in section.groups if section.baseline not in group.runs]
    grouped = {run for group in groups for run in group.runs}
    single = [_show_row(section, row, measure) for row in section.rows if row.run.id not in grouped]
    means = [_show_group(section, group, measure) for group in groups]
    return [point for point in (*single, *means) if point is not None]


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


def _show_row(section: Section, row: Row, measure: Measure) -> Point | None:
    cost = measure(row)
    if cost is None or row.primary is None or not row.primary.comparable:
        return None
    base = row.run.id == section.baseline
    across = cost if cost.high > cost.low else None
    return Point(
        row.short, cost.value, row.primary.score, across, base, choose_shape(row, base), (row.run.id,)
    )


def _show_group(section: Section, group: SeedGroup, measure: Measure) -> Point | None:
    rows = [section.find(run) for run in group.runs]
    cost = next((cost for cost in map(measure, rows) if cost is not None), None)
    if cost is None:
        return None
    return Point(
        label=name_group(section, group),
        x=cost.value,
        y=group.score,
        across=cost if cost.high > cost.low else None,
        baseline=False,
        shape=choose_shape(rows[0], False),
        runs=group.runs,
        singles=tuple(row.primary.score.value for row in rows if row.primary),
    )


def choose_shape(row: Row, baseline: bool) -> Shape:
    """What its mark looks like: by the last stage that made it."""
    stage = row.run.stage
    if baseline:
        return "baseline"
    if isinstance(stage, Quantize):
        return "quantized"
    if isinstance(stage, Prune):
        return "pruned"
    if isinstance(stage, Distill):
        return "distilled"
    return "labels" if isinstance(stage, Finetune) else "other"
