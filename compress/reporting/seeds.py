"""Means over seeds: runs of one kind, told together."""

from collections import defaultdict
from collections.abc import Sequence

from compress.reporting.data import RunData
from compress.reporting.schema import Interval, Row, SeedGroup
from compress.reporting.scores import align, choose_evaluations
from compress.runs import Run
from compress.statistics import Estimate, estimate_over_seeds


def group_seeds(rows: Sequence[Row], runs: Sequence[RunData], reference: RunData) -> tuple[SeedGroup, ...]:
    """The kinds of run that were trained from several seeds, the best first.

    Args:
        rows: Of the section.
        runs: Their data.
        reference: The baseline's.
    """
    kinds: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        if row.primary is not None and row.primary.comparable:
            kinds[_kind(row.run)].append(row)
    known = {each.run.id: each for each in runs}
    groups = [
        _average(members, [known[row.run.id] for row in members], reference)
        for members in kinds.values()
        if len({row.run.seed for row in members}) > 1
    ]
    found = [group for group in groups if group is not None]
    return tuple(sorted(found, key=lambda group: (-group.score.value, group.name, group.runs)))


def _kind(run: Run) -> object:
    parents = tuple((parent.role, parent.name) for parent in run.parents)
    return run.name, run.stage.model_dump_json(), parents, run.facts.get("stages")


def _average(rows: Sequence[Row], runs: Sequence[RunData], reference: RunData) -> SeedGroup | None:
    primary = rows[0].primary
    if primary is None:
        return None
    other = choose_evaluations(reference)[primary.split]
    columns = []
    for data in runs:
        own = choose_evaluations(data, preferred={primary.split: other})[primary.split]
        pair = align(data, own, reference=reference, other=other)
        if pair is None:
            return None
        columns.append(pair)
    labels, _, baseline = columns[0]
    predictions = [own for _, own, _ in columns]
    scores = [row.primary.score.value for row in rows if row.primary is not None]
    try:
        kept = _interval(estimate_over_seeds(primary.metric, labels, predictions, baseline))
    except ValueError:  # the baseline's score is not positive; a caveat says so
        kept = None
    return SeedGroup(
        name=rows[0].run.name,
        made=rows[0].made,
        runs=tuple(row.run.id for row in rows),
        seeds=tuple(sorted(row.run.seed for row in rows)),
        n=primary.n,
        score=_interval(estimate_over_seeds(primary.metric, labels, predictions)),
        lowest=min(scores),
        highest=max(scores),
        retention=kept,
    )


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=estimate.value, low=estimate.low, high=estimate.high)
