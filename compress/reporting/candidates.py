"""What there is to choose from: single models, and those that differ in their seeds alone as one."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import TypeVar

from compress.reporting.lineage import name_group
from compress.reporting.schema import (
    Fidelity,
    Interval,
    Overview,
    OverviewRow,
    Row,
    ScoreResult,
    Section,
    SeedGroup,
    Timing,
    TimingColumn,
)

Model = TypeVar("Model")


@dataclass(frozen=True)
class Candidate:
    """A model, or models that differ in their seeds alone: told by their mean, so that no lucky seed is chosen.

    Attributes:
        rows: Of all seeds.
        name: Of what they have in common.
        baseline: The id of the section's, which may be one of these.
        group: Their mean; None for one model.
    """

    rows: tuple[Row, ...]
    name: str
    baseline: str
    group: SeedGroup | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of all that it stands for."""
        return tuple(row.run.id for row in self.rows)

    @property
    def is_baseline(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.baseline in self.runs

    @property
    def heaviest(self) -> Row:
        """Who stands for the size of all seeds: it may differ, where a score decides what stays in full precision."""
        return max(self.rows, key=lambda row: row.bytes)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of several models; of one model none."""
        return self.group.seeds if self.group else ()

    @property
    def _result(self) -> SeedGroup | ScoreResult | None:
        return self.group or self.rows[0].primary

    @property
    def score(self) -> Interval | None:
        """By the task's metric; None for what was not scored."""
        return self._result.score if self._result else None

    @property
    def comparable(self) -> bool:
        """Whether it answered the baseline's examples."""
        primary = self.rows[0].primary
        return primary is not None and primary.comparable

    @property
    def retention(self) -> Interval | None:
        """The share of the baseline's score that is kept; None where the two cannot be compared."""
        return self._result.retention if self._result else None

    @property
    def scores(self) -> tuple[ScoreResult, ...]:
        """Every metric on every split; of several seeds the means, where all of them saw the same examples."""
        return (self.group or self.rows[0]).scores

    @property
    def fidelity(self) -> tuple[Fidelity, ...]:
        """How well it stands in for the baseline, by split; of several seeds the means, as of the scores."""
        return (self.group or self.rows[0]).fidelity

    def find_timing(self, column: TimingColumn | None) -> Timing | None:
        """The first of its seeds that was measured; of the baseline the one that the others' times are compared with."""
        compared = column.find(self.baseline) if column and self.is_baseline else None
        return compared or find_timing(self.rows, column)


def list_candidates(section: Section) -> list[Candidate]:
    """In the order of the rows, several seeds as one at the place of their first: the baseline is the first one."""
    grouped = {run: group for group in section.groups for run in group.runs}
    found: dict[str, Candidate] = {}
    for row in section.rows:
        group = grouped.get(row.run.id)
        if group is None:
            found[row.run.id] = Candidate((row,), row.short, section.baseline)
        elif group.runs[0] not in found:
            found[group.runs[0]] = _gather(section, group)
    return list(found.values())


def find_baseline(section: Section) -> Candidate:
    """The candidate that the others are compared with."""
    return next(each for each in list_candidates(section) if each.is_baseline)


def list_rivals(section: Section) -> list[Candidate]:
    """The candidates that are not the baseline."""
    return [each for each in list_candidates(section) if not each.is_baseline]


def _gather(section: Section, group: SeedGroup) -> Candidate:
    rows = tuple(section.find(run) for run in group.runs)
    return Candidate(rows, name_group(section, group), section.baseline, group)


def find_timing(rows: Sequence[Row], column: TimingColumn | None) -> Timing | None:
    """The first of a model's seeds that was measured: what takes time is no seed's; None where none was."""
    found = (column.find(row.run.id) for row in rows) if column else ()
    return next((timing for timing in found if timing), None)


def list_timings(
    overview: Overview, row: OverviewRow, sections: Sequence[Section]
) -> list[tuple[TimingColumn, Timing]]:
    """A model's timing on each of the tasks that an overview tells the speed of, of those that have one."""
    found = []
    for section in sections:
        # first the one that the others' times are compared with
        rows = sorted(section.list_rows(row.runs), key=lambda each: each.run.id != section.baseline)
        timing = find_timing(rows, section.timing) if section.task in overview.timed else None
        if section.timing and timing:
            found.append((section.timing, timing))
    return found


def join_milliseconds(timings: Sequence[Timing]) -> Interval | None:
    """Of several tasks the geometric mean with the range over them, of one as its sessions tell it; None of none."""
    if len(timings) == 1:
        return timings[0].milliseconds
    return geometric_mean_and_range([each.milliseconds.value for each in timings])


def find_devices(
    columns: Sequence[TimingColumn], one: Collection[str], other: Collection[str]
) -> tuple[str, str] | None:
    """The two devices on which one session measured both models, each on its own; None where none did.

    Args:
        columns: Of a comparison, none of which tells one's speed-up.
        one: The ids of a model's seeds.
        other: Of another's.
    """
    first, second = (
        [column for column in columns if any(map(column.find, runs)) and column.condition.device]
        for runs in (one, other)
    )
    found = (
        (own.condition.device, each.condition.device)
        for own in first
        for each in second
        if own.machine == each.machine and not set(own.sessions).isdisjoint(each.sessions)
    )
    return next(((a, b) for a, b in found if a and b and a != b), None)


def list_engines(section: Section) -> list[tuple[str, str]]:
    """Name and engine of every candidate that the comparison has a latency of, the baseline first."""
    timed = [(one, one.find_timing(section.timing)) for one in list_candidates(section)]
    return [(one.name, timing.engine) for one, timing in timed if timing]


def keep_front(models: Iterable[Model], rate: Callable[[Model], tuple[float, float]]) -> list[Model]:
    """The Pareto front: those that no other one beats in both cost and score, the cheapest first.

    Args:
        models: In the order in which the first of equals is kept.
        rate: A model's cost, of which less is better, and its score.
    """
    best = -math.inf
    front = []
    for model in sorted(models, key=lambda each: (rate(each)[0], -rate(each)[1])):
        _, score = rate(model)
        if score > best:
            best = score
            front.append(model)
    return front


def find_front(section: Section) -> tuple[str, ...]:
    """The ids of the runs of the candidates on the front of bytes and score, smallest first."""
    scored = [(each, each.score.value) for each in list_candidates(section) if each.comparable and each.score]
    front = keep_front(scored, lambda each: (each[0].heaviest.bytes, each[1]))
    return tuple(run for one, _ in front for run in one.runs)


def geometric_mean_and_range(ratios: Sequence[float]) -> Interval | None:
    """The mean of ratios, by which four times and a quarter are once; its bounds are the lowest and the highest of them.

    None where one is not positive.
    """
    if not ratios or not all(ratio > 0 for ratio in ratios):
        return None
    return Interval(value=geometric_mean(ratios), low=min(ratios), high=max(ratios))
