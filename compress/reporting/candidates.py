"""What there is to choose from: single models, and those that differ in their seeds alone as one."""

from dataclasses import dataclass

from compress.reporting.lineage import name_group
from compress.reporting.schema import Interval, Row, ScoreResult, Section, SeedGroup


@dataclass(frozen=True)
class Candidate:
    """A model, or models that differ in their seeds alone: told by their mean, so that no lucky seed is chosen.

    Attributes:
        rows: Of all seeds.
        name: Of what they have in common.
        group: Their mean; None for one model.
    """

    rows: tuple[Row, ...]
    name: str
    group: SeedGroup | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of all that it stands for."""
        return tuple(row.run.id for row in self.rows)

    @property
    def _result(self) -> SeedGroup | ScoreResult | None:
        return self.group or self.rows[0].primary

    @property
    def score(self) -> Interval | None:
        """By the task's metric; None for what was not scored."""
        return self._result.score if self._result else None

    @property
    def retention(self) -> Interval | None:
        """The share of the baseline's score that is kept; None where the two cannot be compared."""
        return self._result.retention if self._result else None


def list_candidates(section: Section) -> list[Candidate]:
    """Single models in the order of their rows, then several seeds as one; the baseline's other seeds stay single."""
    groups = [group for group in section.groups if section.baseline not in group.runs]
    grouped = {run for group in groups for run in group.runs}
    single = [Candidate((row,), row.short) for row in section.rows if row.run.id not in grouped]
    return [*single, *(_gather(section, group) for group in groups)]


def list_rivals(section: Section) -> list[Candidate]:
    """The candidates that are not the baseline, nor another seed of it."""
    same = {section.baseline}.union(
        *(group.runs for group in section.groups if section.baseline in group.runs)
    )
    return [each for each in list_candidates(section) if same.isdisjoint(each.runs)]


def _gather(section: Section, group: SeedGroup) -> Candidate:
    rows = tuple(section.find(run) for run in group.runs)
    return Candidate(rows, name_group(section, group), group)
