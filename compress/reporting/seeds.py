"""Means over seeds: runs of one kind, told together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compress.kinds import Known, kind_of, seed_of
from compress.reporting.data import RunData
from compress.reporting.schema import Interval, Row, SeedGroup
from compress.reporting.scores import align_all, choose_evaluations
from compress.statistics import estimate_over_seeds


def group_seeds(
    rows: Sequence[Row], runs: Sequence[RunData], reference: RunData, *, known: Known
) -> tuple[SeedGroup, ...]:
    """The kinds of run that were trained from several seeds, the best first.

    Args:
        rows: Of the section.
        runs: Their data.
        reference: The baseline's.
        known: The runs of the rows and those that they go back to.
    """
    kinds = gather_kinds(rows, known=known)
    data = {each.run.id: each for each in runs}
    groups = [_average(by_seed, data, reference) for by_seed in kinds if len(by_seed) > 1]
    found = [group for group in groups if group is not None]
    return tuple(sorted(found, key=lambda group: (-group.score.value, group.name, group.runs)))


def gather_kinds(rows: Sequence[Row], *, known: Known) -> list[dict[int, Row]]:
    """For each kind of run its seeds, those that were scored on the baseline's examples."""
    kinds: dict[object, dict[int, Row]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.run.started):  # of two from one seed the newer counts
        if row.primary is not None and row.primary.comparable:
            kinds[kind_of(row.run, known, seeds=False)][seed_of(row.run, known)] = row
    return list(kinds.values())


def _average(by_seed: Mapping[int, Row], data: Mapping[str, RunData], reference: RunData) -> SeedGroup | None:
    seeds = tuple(sorted(by_seed))
    rows = [by_seed[seed] for seed in seeds]
    primary = rows[0].primary
    if primary is None:
        return None
    other = choose_evaluations(reference)[primary.split]
    found = align_all([data[row.run.id] for row in rows], reference=reference, other=other)
    if found is None:
        return None
    labels, predictions, baseline = found
    scores = [row.primary.score.value for row in rows if row.primary is not None]
    try:
        kept = Interval.of(estimate_over_seeds(primary.metric, labels, predictions, baseline))
    except ValueError:  # the baseline is no better than a constant answer; a caveat says so
        kept = None
    return SeedGroup(
        name=rows[0].run.name,
        made=rows[0].made,
        runs=tuple(row.run.id for row in rows),
        seeds=seeds,
        n=primary.n,
        score=Interval.of(estimate_over_seeds(primary.metric, labels, predictions)),
        lowest=min(scores),
        highest=max(scores),
        retention=kept,
    )
