"""Models on several tasks: GLUE's mean of those that are here, and how much of the baseline's is left."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compress.kinds import Known
from compress.reporting.answer import add_answer
from compress.reporting.candidates import find_timing, geometric_mean_and_range, list_candidates
from compress.reporting.data import RunData
from compress.reporting.lineage import describe_making
from compress.reporting.schema import Interval, Overview, OverviewRow, Row, Section
from compress.reporting.scores import Aligned, align_all, choose_evaluations
from compress.reporting.seeds import gather_kinds
from compress.reporting.wording import strip_texts
from compress.statistics import Array, draw_means, mean_score, percentile_interval
from compress.tasks import GLUE_TITLES

Models = Mapping[str, tuple[Row, ...]]
"""A model's name and how it was made → its runs on a task, one a seed."""


@dataclass(frozen=True)
class _Draws:
    """A task's score and its resamples `[R]`: of a model over its seeds, and of the baseline on the same examples."""

    value: float
    samples: Array
    base: float
    base_samples: Array

    @classmethod
    def mean(cls, parts: "Sequence[_Draws]") -> "_Draws":
        return cls(
            float(np.mean([part.value for part in parts])),
            np.mean([part.samples for part in parts], axis=0),
            float(np.mean([part.base for part in parts])),
            np.mean([part.base_samples for part in parts], axis=0),
        )

    def shuffled(self, seed: int) -> "_Draws":
        order = np.random.default_rng(seed).permutation(len(self.samples))
        return replace(self, samples=self.samples[order], base_samples=self.base_samples[order])


def find_overview(sections: Sequence[Section], runs: Sequence[RunData], known: Known) -> Overview | None:
    """The overview of a report, None where no two of its tasks share a model.

    Args:
        sections: Of the report.
        runs: Their data.
        known: These runs, and those that they go back to.
    """
    here = [section for section in sections if not section.outside_mean and not section.knows_nothing]
    models = _gather_models(here, known)
    counts = Counter(name for told in models.values() for name in told)
    shared = {name for name, count in counts.items() if count > 1}
    places = {name: place for place, name in enumerate(GLUE_TITLES)}
    chosen = sorted(
        (section for section in here if shared & models[section.task].keys()),
        key=lambda section: (places.get(section.task, len(places)), section.task),
    )
    if not chosen:
        return None
    timed = _find_timed(chosen)
    data = {each.run.id: each for each in runs}
    brief = _name_briefly(shared, chosen, models)
    told = []
    for name in shared:
        found = [models[section.task].get(name) for section in chosen]
        draws = [
            _draw(rows, section, data, order=place) if rows else None
            for place, (rows, section) in enumerate(zip(found, chosen, strict=True))
        ]
        is_baseline = all(
            rows is None or section.baseline in {row.run.id for row in rows}
            for rows, section in zip(found, chosen, strict=True)
        )
        costs = _count_costs(found, chosen, timed)
        told.append(_build_row(brief[name], draws, costs, is_baseline=is_baseline))
    told.sort(key=_rank)
    overview = Overview(
        tasks=tuple(section.task for section in chosen),
        timed=tuple(section.task for section in timed),
        rows=tuple(told),
    )
    return add_answer(overview, chosen, known)


@dataclass(frozen=True)
class _Costs:
    """A model's runs, the bytes of its largest artefact, and how much smaller and faster it is than each task's baseline."""

    runs: tuple[str, ...]
    bytes: int
    smaller: Interval | None
    faster: Interval | None


def _find_timed(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The tasks whose times are told together: all taken under one condition on one machine.

    Whose texts they were is no part of the condition. They may be a part of the tasks where texts were given a length: how long so many tokens take is no task's.
    """
    timed = tuple(section for section in sections if section.timing)
    columns = [section.timing for section in timed if section.timing]
    conditions = {(column.machine, strip_texts(column.condition).model_dump_json()) for column in columns}
    given = all(isinstance(column.condition.length, int) for column in columns)
    return timed if len(conditions) == 1 and (given or len(timed) == len(sections)) else ()


def _count_costs(
    found: Sequence[tuple[Row, ...] | None], sections: Sequence[Section], timed: Sequence[Section]
) -> _Costs:
    here = [(rows, section) for rows, section in zip(found, sections, strict=True) if rows]
    every = [row for rows, _ in here for row in rows]
    smaller = [min(row.smaller for row in rows) for rows, _ in here]
    asked = {section.task for section in timed}
    timings = [find_timing(rows, section.timing) for rows, section in here if section.task in asked]
    speedups = [timing.speedup for timing in timings if timing and timing.speedup]
    return _Costs(
        tuple(row.run.id for row in every),
        max(row.bytes for row in every),
        geometric_mean_and_range(smaller),
        _join_speedups(speedups) if len(speedups) == len(timed) else None,
    )


def _join_speedups(speedups: Sequence[Interval]) -> Interval | None:
    """Of several tasks with the range over them, of one as its own sessions tell it."""
    return speedups[0] if len(speedups) == 1 else geometric_mean_and_range([each.value for each in speedups])


def _rank(row: OverviewRow) -> tuple[bool, bool, float, str]:
    """The baseline first, then those with a mean, the best of them before the others."""
    return not row.baseline, row.mean is None, -row.mean.value if row.mean else 0.0, row.name


def _gather_models(sections: Sequence[Section], known: Known) -> dict[str, Models]:
    """For each task its models, by a name that stands for one kind of run there.

    How often texts were copied is in the name only where a task has a model both ways: recipes decide it by the task.
    """
    kinds = {section.task: _list_kinds(section, known) for section in sections}

    def name_plainly(rows: Sequence[Row]) -> str:
        return f"{rows[0].run.name} · {describe_making(rows[0].run, known, copies=False)}"

    several = {name for told in kinds.values() for name in _find_repeated(map(name_plainly, told))}

    def name(rows: Sequence[Row]) -> str:
        plain = name_plainly(rows)
        return rows[0].label if plain in several else plain

    unclear = {task: _find_repeated(map(name, told)) for task, told in kinds.items()}
    return {
        task: {name(rows): rows for rows in told if name(rows) not in unclear[task]}
        for task, told in kinds.items()
    }


def _list_kinds(section: Section, known: Known) -> list[tuple[Row, ...]]:
    return [tuple(each.values()) for each in gather_kinds(section.rows, section.baseline, known=known)]


def _find_repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _name_briefly(
    names: Collection[str], sections: Sequence[Section], models: Mapping[str, Models]
) -> dict[str, str]:
    """Each name, or where every task calls the model by the same shorter one, and no other so, that."""
    shorter: dict[str, set[str]] = {name: set() for name in names}
    for section in sections:
        called = {run: each.name for each in list_candidates(section) for run in each.runs}
        for name, rows in models[section.task].items():
            if name in shorter:
                shorter[name] |= {called[row.run.id] for row in rows}
    agreed = {name: found.pop() for name, found in shorter.items() if len(found) == 1}
    counts = Counter(agreed.values())
    unique = {name: brief for name, brief in agreed.items() if counts[brief] == 1}
    return {name: unique.get(name, name) for name in names}


def _draw(rows: Sequence[Row], section: Section, data: Mapping[str, RunData], *, order: int) -> _Draws | None:
    """The task's score, drawn anew with the seeds and the examples; None where one saw other examples than the baseline.

    They are the section's own draws, so that a page gives one interval for one score; each task has them in another `order`,
    since what is drawn of one says nothing of what is drawn of the next.
    """
    models, references = [data[row.run.id] for row in rows], [data[run] for run in section.references]
    first = data[section.baseline]
    parts = []
    for place, split in enumerate(_list_splits(first)):
        found = align_all(models, references=references, split=split)
        if found is None:
            return None
        for metric in first.run.answered_task.metrics:
            parts.append(_score(metric, found, seed=place))
    return _Draws.mean(parts).shuffled(order) if parts else None


def _list_splits(baseline: RunData) -> list[str]:
    """The task's own, as GLUE's mean means; what else the baseline was evaluated on counts where it answered none of them."""
    splits = list(choose_evaluations(baseline))
    return [split for split in splits if split in baseline.run.answered_task.validation] or splits


def _score(metric: str, found: Aligned, *, seed: int) -> _Draws:
    """Metrics of one seed are of the same examples and the same seeds."""
    samples, base_samples = draw_means(metric, found.labels, [found.answers, found.bases], seed=seed)
    value, base = (mean_score(metric, found.labels, answers) for answers in (found.answers, found.bases))
    return _Draws(value, samples, base, base_samples)


def _build_row(name: str, draws: Sequence[_Draws | None], costs: _Costs, *, is_baseline: bool) -> OverviewRow:
    known = [each for each in draws if each is not None]
    whole = _Draws.mean(known) if len(known) == len(draws) else None
    return OverviewRow(
        name=name,
        runs=costs.runs,
        baseline=is_baseline,
        bytes=costs.bytes,
        smaller=None if is_baseline else costs.smaller,
        faster=None if is_baseline else costs.faster,
        scores=tuple(_interval(each.value, each.samples) if each else None for each in draws),
        mean=_interval(whole.value, whole.samples) if whole else None,
        kept=_keep(whole) if whole and not is_baseline else None,
    )


def _keep(whole: _Draws) -> Interval | None:
    """None where the baseline's mean is not positive: a share of it means nothing."""
    if whole.base <= 0:
        return None
    useful = whole.base_samples > 0
    return _interval(whole.value / whole.base, whole.samples[useful] / whole.base_samples[useful])


def _interval(value: float, samples: Array) -> Interval:
    low, high = percentile_interval(samples)
    return Interval(value=value, low=low, high=high)
