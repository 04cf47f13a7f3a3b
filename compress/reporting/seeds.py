"""Means over seeds: runs of one kind, told together."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from compress.kinds import Known, kind_of, seed_of
from compress.reporting.data import RunData
from compress.reporting.fidelity import judge_fidelity
from compress.reporting.schema import Interval, Row, ScoreResult, SeedGroup
from compress.reporting.scores import align_all, align_seeds, choose_evaluations, retain
from compress.runs import Run
from compress.statistics import estimate_over_seeds


def group_seeds(
    rows: Sequence[Row], runs: Sequence[RunData], references: Sequence[RunData], *, known: Known
) -> tuple[SeedGroup, ...]:
    """The kinds of run that were trained from several seeds, the best first.

    Args:
        rows: Of the section.
        runs: Their data.
        references: The baseline's seeds.
        known: The runs of the rows and those that they go back to.
    """
    kinds = gather_kinds(rows, references[0].run.id, known=known)
    data = {each.run.id: each for each in runs}
    groups = [_average(by_seed, data, references) for by_seed in kinds if len(by_seed) > 1]
    found = [group for group in groups if group is not None]
    return tuple(sorted(found, key=lambda group: (-group.score.value, group.name, group.runs)))


def gather_kinds(rows: Sequence[Row], baseline: str, *, known: Known) -> list[dict[int, Row]]:
    """For each kind of run its seeds, those that were scored on the baseline's examples."""
    kinds: dict[object, dict[int, Row]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: _rank(row.run, baseline)):
        if row.primary is not None and row.primary.comparable:
            kinds[kind_of(row.run, known, seeds=False)][seed_of(row.run, known)] = row
    return list(kinds.values())


def list_references(base: RunData, model: Sequence[RunData], *, known: Known) -> list[RunData]:
    """The baseline, and of its model's other seeds those that answered the same examples.

    Args:
        base: The baseline.
        model: The runs that differ from it in nothing but their seed, and itself.
        known: These, and those that they go back to.
    """
    split = next(iter(choose_evaluations(base)), None)
    by_seed = {
        seed_of(each.run, known): each
        for each in sorted(model, key=lambda each: _rank(each.run, base.run.id))
        if split is not None and align_all([each], references=[base], split=split)
    }
    return [base, *(each for _, each in sorted(by_seed.items()) if each is not base)]


def _rank(run: Run, baseline: str) -> tuple[bool, str]:
    """Of two runs from one seed the later counts: the newer one, but before all others the baseline."""
    return run.id == baseline, run.started


def _average(
    by_seed: Mapping[int, Row], data: Mapping[str, RunData], references: Sequence[RunData]
) -> SeedGroup | None:
    seeds = tuple(sorted(by_seed))
    rows = [by_seed[seed] for seed in seeds]
    models = [data[row.run.id] for row in rows]
    scores = tuple(_average_scores(rows[0].scores, models, references))
    primary = next((each for each in scores if _is_primary(each, rows[0])), None)
    if primary is None:
        return None
    return SeedGroup(
        name=rows[0].run.name,
        runs=tuple(row.run.id for row in rows),
        seeds=seeds,
        score=primary.score,
        retention=primary.retention,
        scores=scores,
        fidelity=judge_fidelity(models, references),
    )


def _average_scores(
    first: Sequence[ScoreResult], models: Sequence[RunData], references: Sequence[RunData]
) -> Iterator[ScoreResult]:
    """The means of what was scored of the first seed, where the others answered the same examples."""
    own = references[0].run.id in {each.run.id for each in models}
    for result in first:
        found = align_seeds(models, references=references, split=result.split)
        if found:
            mean = estimate_over_seeds(result.metric, found.labels, found.answers)
            kept = None if own or not found.bases else retain(result.metric, found)
            yield result.model_copy(update={"score": Interval.of(mean), "retention": kept})


def _is_primary(result: ScoreResult, row: Row) -> bool:
    primary = row.primary
    return primary is not None and (result.split, result.metric) == (primary.split, primary.metric)
