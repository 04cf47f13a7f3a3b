"""Two models against each other: what each scores on the same examples, and whether the difference is one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from compress.errors import CompressError, InvalidInputError
from compress.kinds import Known, kind_of, seed_of
from compress.recipes.values import Frozen
from compress.reporting.ancestors import find_ancestors, find_store
from compress.reporting.candidates import find_devices
from compress.reporting.data import ReportData, RunData, read_run_data
from compress.reporting.finding import find_models
from compress.reporting.lineage import describe_making
from compress.reporting.overall import Overall, find_overall
from compress.reporting.schema import Interval, Timed
from compress.reporting.scores import Aligned, align_all, choose_evaluations, settle_data
from compress.reporting.timings import compare_timings
from compress.runs import SCHEMA_VERSION, Run, StoredRun, find_runs
from compress.statistics import Array, estimate_gain, estimate_over_seeds, mcnemar

Seeds = Mapping[int, RunData]
"""Seed → the run from it, of runs that differ in nothing else."""


class Side(Frozen):
    """One of the two models: its runs, one a seed, in the order of the seeds; `bytes` are the first one's."""

    name: str
    made: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    bytes: int


class MetricPair(Frozen):
    """A metric of both, means over their seeds, and `gain`, the first's minus the second's; all with 95 % intervals."""

    metric: str
    ours: Interval
    theirs: Interval
    gain: Interval


class Discordance(Frozen):
    """McNemar's test of a run of either side (`compress.statistics.mcnemar`), and the seeds of the two."""

    seeds: tuple[int, int]
    both: int
    only_ours: int
    only_theirs: int
    neither: int
    p_value: float
    test: Literal["exact", "mid-p"]


class SplitPair(Frozen):
    """Both models on the `n` examples of a split that both answered; no `tests` for a regression."""

    split: str
    n: int
    metrics: tuple[MetricPair, ...]
    tests: tuple[Discordance, ...]


class SpeedPair(Timed):
    """How many times faster the first is than the second, where measuring sessions have both; the engines of the two."""

    faster: Interval
    engines: tuple[str, str]


class TaskPair(Frozen):
    """Both models on a task; `smaller` is the second's bytes over the first's.

    `devices` are those on which one session measured the two, where it measured each on another, so that there are no `speeds`.
    """

    task: str
    ours: Side
    theirs: Side
    splits: tuple[SplitPair, ...]
    smaller: float | None
    speeds: tuple[SpeedPair, ...]
    devices: tuple[str, str] | None = None


class LeftOut(Frozen):
    """A task of which the report has one of the two only; `lacking` is the name that none of its models has, or several."""

    task: str
    lacking: str


class Pairwise(Frozen):
    """Two models on every task that both answer; of several tasks `overall` is the mean."""

    schema_version: int = SCHEMA_VERSION
    overall: Overall | None = None
    tasks: tuple[TaskPair, ...]
    left_out: tuple[LeftOut, ...] = ()


def compare_stored(first: StoredRun, second: StoredRun) -> Pairwise:
    """Compare two runs, each with those of its store that differ from it in their seeds alone.

    Raises:
        InvalidInputError: They are the same model, or answer different tasks.
        CompressError: They were not scored on the same examples.
    """
    names = [stored.run.answered_task.name for stored in (first, second)]
    if names[0] != names[1]:
        raise InvalidInputError(
            f"{first.run.id} answers {names[0]}, {second.run.id} answers {names[1]}.",
            "Name two models of one task.",
        )
    sides: list[list[StoredRun]] = []
    known: dict[str, Run] = {}
    for stored in (first, second):
        store = find_store(stored)
        others = find_runs(store) if store else [stored]
        known |= {each.run.id: each.run for each in [*others, *find_ancestors([stored])]}
        sides.append([each for each in others if each.run.place == stored.run.place] or [stored])
    kin = [
        [read_run_data(each) for each in others if _alike(each, stored, known)]
        for stored, others in zip((first, second), sides, strict=True)
    ]
    return Pairwise(tasks=(_compare_task(*_require_both(*kin, known=known), known=known),))


def compare_in_report(data: ReportData, first: str, second: str) -> Pairwise:
    """Compare two models of a report on every task that has both.

    Args:
        data: The report's.
        first: A run's id, key or name, or what the report's tables, its overview or its articles call it; several seeds
            of one model count as one.
        second: The other one.

    Raises:
        InvalidInputError: A name is of no run or of several models of one task, or both are the same.
        CompressError: They were not scored on the same examples.
    """
    known = {each.run.id: each.run for each in [*data.runs, *data.ancestors]}
    ours, theirs = (find_models(data.runs, name, known) for name in (first, second))
    tasks = [task for task in ours if task in theirs]
    if not tasks:
        raise InvalidInputError(
            f"No task of the report has both {first!r} ({', '.join(ours)}) and {second!r} ({', '.join(theirs)}).",
            "Name two models of one task.",
        )
    sides = {task: _require_both(ours[task], theirs[task], known=known) for task in tasks}
    return Pairwise(
        tasks=tuple(_compare_task(*both, known=known) for both in sides.values()),
        overall=find_overall(
            {task: (list(first.values()), list(second.values())) for task, (first, second) in sides.items()}
        ),
        left_out=tuple(
            LeftOut(task=task, lacking=second if task in ours else first)
            for task in sorted(ours.keys() ^ theirs.keys())
        ),
    )


def _alike(each: StoredRun, stored: StoredRun, known: Known) -> bool:
    return each.run.id == stored.run.id or (
        each.run.place == stored.run.place
        and each.run.name == stored.run.name
        and kind_of(each.run, known, seeds=False) == kind_of(stored.run, known, seeds=False)
    )


def _require_both(ours: Sequence[RunData], theirs: Sequence[RunData], *, known: Known) -> tuple[Seeds, Seeds]:
    """Both models of a task, with the data that they are compared on.

    Raises:
        InvalidInputError: They are the same one.
        CompressError: There is no split that both answered.
    """
    if {each.run.id for each in ours} & {each.run.id for each in theirs}:
        raise InvalidInputError(
            f"{ours[0].run.id} and {theirs[0].run.id} are the same model, or seeds of one.",
            "Name two models.",
        )
    first, second = _settle(_by_seed(ours, known), _by_seed(theirs, known))
    if not (first and second and any(_align_splits(first, second))):
        raise CompressError(
            f"{ours[0].run.id} and {theirs[0].run.id} were not scored on the same examples.",
            f"Score both anew: compress evaluate MODEL --task {ours[0].run.answered_task.name}",
        )
    return first, second


def _compare_task(first: Seeds, second: Seeds, *, known: Known) -> TaskPair:
    sides = [_describe_side(side, known) for side in (first, second)]
    speeds = _compare_speeds(list(first.values()), list(second.values()))
    return TaskPair(
        task=next(iter(first.values())).run.answered_task.name,
        ours=sides[0],
        theirs=sides[1],
        splits=tuple(_compare_splits(first, second)),
        smaller=sides[1].bytes / sides[0].bytes if sides[0].bytes else None,
        speeds=speeds,
        devices=None if speeds else _find_devices(list(first.values()), list(second.values())),
    )


def _by_seed(runs: Sequence[RunData], known: Known) -> Seeds:
    """Those that were scored, in the order of the seeds; of two runs from one seed the newer counts."""
    scored = sorted(filter(choose_evaluations, runs), key=lambda each: each.run.started)
    found = {seed_of(each.run, known): each for each in scored}
    return dict(sorted(found.items()))


def _settle(ours: Seeds, theirs: Seeds) -> tuple[Seeds, Seeds]:
    """Both sides, with the data that they are compared on: of the first one's those that most of the other's runs answered."""
    if not ours or not theirs:
        return ours, theirs
    base = next(iter(ours.values()))
    runs = iter(settle_data([*ours.values(), *theirs.values()], base, [*ours.values()]))
    return {seed: next(runs) for seed in ours}, {seed: next(runs) for seed in theirs}


def _describe_side(side: Seeds, known: Known) -> Side:
    first = next(iter(side.values())).run
    return Side(
        name=first.name,
        made=describe_making(first, known),
        runs=tuple(each.run.id for each in side.values()),
        seeds=tuple(side),
        bytes=first.artefact_bytes,
    )


def _align_splits(ours: Seeds, theirs: Seeds) -> Iterator[tuple[str, Aligned]]:
    """Every split that all runs of both sides answered, the very same examples."""
    reference = next(iter(ours.values()))
    for split in choose_evaluations(reference):
        found = align_all([*ours.values(), *theirs.values()], references=[reference], split=split)
        if found is not None:
            yield split, found


def _compare_splits(ours: Seeds, theirs: Seeds) -> Iterator[SplitPair]:
    task = next(iter(ours.values())).run.answered_task
    for split, (labels, answers, _) in _align_splits(ours, theirs):
        first = dict(zip(ours, answers[: len(ours)], strict=True))
        second = dict(zip(theirs, answers[len(ours) :], strict=True))
        yield SplitPair(
            split=split,
            n=len(labels),
            metrics=tuple(_compare_metric(metric, labels, first, second) for metric in task.metrics),
            tests=tuple(_test(labels, first, second)) if task.kind == "classification" else (),
        )


def _compare_metric(
    metric: str, labels: Array, ours: Mapping[int, Array], theirs: Mapping[int, Array]
) -> MetricPair:
    first, second = list(ours.values()), list(theirs.values())
    return MetricPair(
        metric=metric,
        ours=Interval.of(estimate_over_seeds(metric, labels, first)),
        theirs=Interval.of(estimate_over_seeds(metric, labels, second)),
        gain=Interval.of(estimate_gain(metric, labels, first, second)),
    )


def _test(labels: Array, ours: Mapping[int, Array], theirs: Mapping[int, Array]) -> Iterator[Discordance]:
    """Run against run, for the test knows of examples only: the same seeds, or one run against each of the other's."""
    single = min(len(ours), len(theirs)) == 1
    for seed, own in ours.items():
        for other, answers in theirs.items():
            if single or seed == other:
                yield Discordance(seeds=(seed, other), **mcnemar(labels, own, answers)._asdict())


def _compare_speeds(ours: Sequence[RunData], theirs: Sequence[RunData]) -> tuple[SpeedPair, ...]:
    """Of the first two runs that a session has measured together, in the order of the seeds."""
    for other in theirs:
        columns = compare_timings([*ours, *theirs], other.run.id)
        for own in ours:
            timings = [(column, column.find(own.run.id), column.find(other.run.id)) for column in columns]
            speeds = tuple(
                SpeedPair(
                    machine=column.machine,
                    condition=column.condition,
                    sessions=column.sessions,
                    rounds=column.rounds,
                    spread=column.spread,
                    faster=timing.speedup,
                    engines=(timing.engine, reference.engine),
                )
                for column, timing, reference in timings
                if timing and reference and timing.speedup
            )
            if speeds:
                return speeds
    return ()


def _find_devices(ours: Sequence[RunData], theirs: Sequence[RunData]) -> tuple[str, str] | None:
    first, second = ([each.run.id for each in side] for side in (ours, theirs))
    return find_devices(compare_timings([*ours, *theirs], second[0]), first, second)
