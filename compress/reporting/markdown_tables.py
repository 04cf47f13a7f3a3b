"""The tables of the report's README.md, each with the note that says how to read it."""

from collections.abc import Callable, Iterator

from compress.reporting.candidates import Candidate, list_candidates, list_engines
from compress.reporting.formats import (
    format_bytes,
    format_change,
    format_change_with_range,
    format_count,
    format_range,
    format_ratio,
    format_score,
    format_share,
    format_significant,
)
from compress.reporting.lineage import name_group
from compress.reporting.markup import escape, tabulate
from compress.reporting.measured import Quantity, explain_known, list_known
from compress.reporting.origins import ENTROPY
from compress.reporting.schema import Fidelity, Interval, Overview, OverviewRow, Section, Timing, TimingColumn
from compress.reporting.wording import (
    PROFILED,
    SEVERAL_SEEDS,
    describe_agreement,
    describe_engines,
    describe_spread,
    explain_fidelity,
    format_condition,
    name_engine,
    name_metric,
    name_task,
    say_constant,
)

BEFORE = ("Steps", "Tokens read", "Minutes", "Hold-out loss", "Hidden words alone", "Unigram entropy")
"""What is told of a stage before the task."""


def tabulate_overview(overview: Overview) -> Iterator[str]:
    """A line a model: its size, its mean over the tasks, the share that is kept of it, and its score on each task."""
    timed = any(row.faster for row in overview.rows)
    names = [escape(name_task(task)) for task in overview.tasks]
    rows = [
        [
            escape(row.name),
            format_bytes(row.bytes),
            _compare_size(row),
            *[_write(row.faster, "ratio")][:timed],
            _write(row.mean, "score"),
            _write(row.kept, "share"),
            *(_write(score, "score") for score in row.scores),
        ]
        for row in overview.rows
    ]
    yield from tabulate(
        ["Model", "Size", "Smaller", *["Times as fast"][:timed], "Mean (95 %)", "Share kept (95 %)", *names],
        rows,
    )


def _compare_size(row: OverviewRow) -> str:
    if row.smaller is None:
        return "baseline" if row.baseline else "–"
    return format_change(row.smaller.value, "smaller", "larger")


def tabulate_comparison(section: Section) -> Iterator[str]:
    """A line a model: how it was made, its size, its speed, its score and the share that is kept of it."""
    column, candidates = section.timing, list_candidates(section)
    titles = ["Model", "How it was made", "Size", "Smaller", "Parameters"]
    titles += ["ms a batch", "Faster"] if column else []
    titles += [f"{name_metric(section.metric)} (95 %)", "n", "Share kept (95 %)"]
    yield from tabulate(titles, (_compare(section, one) for one in candidates), words=2)
    yield ""
    note = "Size: weights and graph on disk. Share kept: of the baseline's score, paired interval."
    if any(one.seeds for one in candidates):
        note += " Of several seeds the mean and the largest file; intervals over seeds and examples."
    if section.constant is not None:
        note += f" {say_constant(section.constant)}"
    if column:
        note += (
            f" Latency: {format_condition(column.condition)}; {column.machine}; {describe_spread(column)}. "
            f"Timed {describe_engines(list_engines(section))}."
        )
    yield escape(note)


def _compare(section: Section, one: Candidate) -> list[str]:
    row, base = one.heaviest, one.is_baseline
    cells = [
        escape(one.name),
        escape(row.made),
        format_bytes(row.bytes),
        "baseline" if base else format_change(row.smaller, "smaller", "larger"),
        format_count(row.run.parameters),
    ]
    if section.timing:
        cells += _compare_speed(one.find_timing(section.timing), base=base)
    if one.score is None or row.primary is None:
        return [*cells, "–", "–", "–"]
    lacking = "baseline" if base else "not compared"
    return [
        *cells,
        _write(one.score, "score"),
        str(row.primary.n),
        _write(one.retention, "share", lacking=lacking),
    ]


def _compare_speed(timing: Timing | None, *, base: bool) -> list[str]:
    if timing is None:
        return ["–", "not compared"]
    times = _write(timing.milliseconds, "milliseconds")
    if timing.speedup is None:
        return [times, "baseline" if base else "not compared"]
    return [times, format_change_with_range(timing.speedup, "faster", "slower")]


def tabulate_seeds(section: Section) -> Iterator[str]:
    """A line a model of several seeds, a column a seed."""
    seeds = sorted({seed for group in section.groups for seed in group.seeds})
    rows = []
    for group in section.groups:
        scores = dict(zip(group.seeds, (section.find(run).primary for run in group.runs), strict=True))
        told = [format_score(found.score.value) if (found := scores.get(seed)) else "–" for seed in seeds]
        rows.append([escape(name_group(section, group)), _write(group.score, "score"), *told])
    metric = name_metric(section.metric)
    yield from tabulate(["Model", f"Mean {metric} (95 %)", *(f"Seed {seed}" for seed in seeds)], rows)


def tabulate_scores(section: Section) -> Iterator[str]:
    """Every metric on every split."""
    candidates = list_candidates(section)
    rows = [
        [
            escape(one.name),
            escape(found.split),
            escape(name_metric(found.metric)),
            _write(found.score, "score"),
            str(found.n),
            _write(found.retention, "share"),
        ]
        for one in candidates
        for found in one.scores
    ]
    yield from tabulate(["Model", "Split", "Metric", "Score (95 %)", "n", "Share kept (95 %)"], rows, words=3)
    if any(one.seeds for one in candidates):
        yield ""
        yield SEVERAL_SEEDS


def tabulate_fidelity(section: Section) -> Iterator[str]:
    """How well each model stands in for the baseline, and knows itself."""
    baseline, candidates = section.find(section.baseline), list_candidates(section)
    rows = [_tell_fidelity(one, found) for one in candidates for found in one.fidelity]
    yield from tabulate(["Model", "Split", "n", "Agreement", "Calibration error"], rows, words=2)
    yield ""
    note = explain_fidelity(baseline.short, section)
    several = any(one.seeds for one in candidates)
    yield escape(f"{note} {SEVERAL_SEEDS}" if several else note)


def _tell_fidelity(one: Candidate, found: Fidelity) -> list[str]:
    error = found.calibration_error
    return [
        escape(one.name),
        escape(found.split),
        str(found.n),
        describe_agreement(found, base=one.is_baseline),
        "–" if error is None else format_score(error),
    ]


def tabulate_timings(section: Section, column: TimingColumn) -> Iterator[str]:
    """Everything that was measured under one condition in sessions that may be compared."""
    yield escape(f"{format_condition(column.condition)}; {column.machine}; {describe_spread(column)}:")
    yield ""
    quantities = list_known(column)
    rows = [
        [
            escape(row.short),
            escape(name_engine(timing.engine)),
            _write(timing.milliseconds, "milliseconds"),
            "baseline" if row.run.id == section.baseline else _write(timing.speedup, "ratio"),
            *(_write_known(timing, quantity) for quantity in quantities),
        ]
        for row in section.rows
        if (timing := column.find(row.run.id))
    ]
    titles = ["Model", "Engine", "ms a batch", "Times as fast", *(quantity.title for quantity in quantities)]
    yield from tabulate(titles, rows, words=2)
    if note := explain_known(column):
        yield ""
        yield escape(note)


def _write_known(timing: Timing, quantity: Quantity) -> str:
    value = timing.quantities.get(quantity.name)
    return "–" if value is None else quantity.write(value)


def tabulate_parts(section: Section) -> Iterator[str]:
    """What each part of a model has of its parameters and of its milliseconds."""
    rows = []
    for row in section.rows:
        if row.parts:
            counts = [f"{each.part} {format_count(each.value)}" for each in row.parts.parameters]
            times = [f"{each.part} {format_significant(each.value)}" for each in row.parts.milliseconds]
            rows.append([escape(row.short), *(escape(", ".join(told) or "–") for told in (counts, times))])
    yield from tabulate(["Model", "Parameters", "Milliseconds"], rows, words=3)
    if any(row.parts and row.parts.milliseconds for row in section.rows):
        yield ""
        yield escape(f"At {format_condition(section.timings[0].condition)}. {PROFILED}")


def tabulate_ancestors(section: Section) -> Iterator[str]:
    """The stages that came before the task."""
    rows = []
    for made in section.ancestors:
        facts = made.run.facts
        rows.append(
            [
                escape(made.run.name),
                escape(made.made),
                escape(made.run.place),
                _write_fact(facts.get("steps"), lambda steps: f"{steps:,}"),
                _write_fact(facts.get("tokens_read"), format_count),
                format_significant(made.run.seconds / 60),
                *(
                    _write_fact(facts.get(name), format_significant)
                    for name in ("holdout_loss", "holdout_masked_lm", ENTROPY)
                ),
            ]
        )
    yield from tabulate(["Model", "Stage", "On", *BEFORE], rows, words=3)
    yield ""
    yield escape(
        "Hold-out loss: of the weights kept, a mean over examples. Hidden words alone: their loss at the last look, a "
        "mean over hidden words, in nats; who knows how frequent each token is and nothing else has the unigram "
        "entropy there."
    )


def _write_fact(fact: object, write: Callable[[float], str]) -> str:
    return write(fact) if isinstance(fact, int | float) else "–"


def _write(found: Interval | None, style: str, *, lacking: str = "–") -> str:
    write = {"score": format_score, "share": format_share, "ratio": format_ratio}.get(
        style, format_significant
    )
    return f"{write(found.value)} ({format_range(found, style)})" if found else lacking
