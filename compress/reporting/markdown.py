"""The report as the README.md of its directory: what GitHub shows before anybody opens the page."""

import re
from collections.abc import Callable, Iterator, Sequence

from compress.reporting.candidates import Candidate, list_candidates
from compress.reporting.essentials import (
    describe_size,
    join_essentials,
    list_commands,
    list_environments,
    order_by_making,
)
from compress.reporting.lineage import name_group
from compress.reporting.origins import ENTROPY, list_parents
from compress.reporting.schema import Interval, Overview, Report, Section, Timing
from compress.reporting.wording import (
    describe_agreement,
    explain_fidelity,
    explain_overview,
    format_bytes,
    format_change,
    format_condition,
    format_count,
    format_range,
    format_ratio,
    format_score,
    format_share,
    format_significant,
    join_names,
    name_task,
    show,
)

_SPECIAL = re.compile(r"[\\`*\[\]<>&|#~!]|(?<!\w)_|_(?!\w)")


def render_markdown(report: Report) -> str:
    """The `README.md` of a report; the same report always gives the same bytes."""
    lines = [f"# {escape(report.title)}", ""]
    if report.overview:
        lines += [*_render_overview(report.overview, explain_overview(report, report.overview)), ""]
    for section in report.sections:
        lines += [*_render_section(section), ""]
    lines += [*_render_making(report), ""]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Text from outside, so that Markdown takes no character of it for markup."""
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", show(text))


def fence(text: str, language: str) -> list[str]:
    """Lines of a code block that holds a text, whatever backticks are in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return [f"{ticks}{language}", *(show(line) for line in text.split("\n")), ticks]


def _render_overview(overview: Overview, note: str) -> Iterator[str]:
    names = [name_task(task) for task in overview.tasks]
    yield f"## Mean of {escape(join_names(names))}"
    yield ""
    if overview.sentence and overview.reason:
        yield f"**{escape(overview.sentence)}** {escape(overview.reason)}"
        yield ""
    timed = any(row.faster for row in overview.rows)
    titles = ["Model", "Size", *["Faster"][:timed], *map(escape, names), "Mean (95 %)", "Share kept (95 %)"]
    yield _line(titles)
    yield _line(["---", *["---:"] * (len(titles) - 1)])
    for row in overview.rows:
        faster = [_write_interval(row.faster, "ratio")][:timed]
        scores = [_write_interval(score, "score") for score in (*row.scores, row.mean)]
        kept = _write_interval(row.kept, "share")
        yield _line([escape(row.name), format_bytes(row.bytes), *faster, *scores, kept])
    yield ""
    yield escape(note)


def _write_interval(found: Interval | None, style: str) -> str:
    write = {"score": format_score, "share": format_share, "ratio": format_ratio}[style]
    return f"{write(found.value)} ({format_range(found, style)})" if found else "–"


def _render_section(section: Section) -> Iterator[str]:
    yield f"## Task {escape(name_task(section.task))}"
    yield ""
    if section.headline:
        yield f"**{escape(section.headline.sentence)}** {escape(section.headline.reason)}"
        yield ""
        yield from (f"- {name}: {escape(text)}" for name, text in section.headline.certainty)
        yield ""
    yield "The page is [index.html](index.html), the data it follows from lie in [data](data), its numbers in [models.csv](data/models.csv), [scores.csv](data/scores.csv) and [timings.csv](data/timings.csv)."
    yield ""
    yield from _render_table(section)
    yield ""
    if section.groups:
        yield from _render_seeds(section)
        yield ""
    if len(section.rows) > 1 and any(row.fidelity for row in section.rows):
        yield from _render_fidelity(section)
        yield ""
    if any(row.parts for row in section.rows):
        yield from _render_parts(section)
        yield ""
    if section.ancestors:
        yield from _render_ancestors(section)
        yield ""
    if section.caveats:
        yield "### Caveats"
        yield ""
        yield from (f"- {escape(caveat.text)}" for caveat in section.caveats)


def _render_table(section: Section) -> Iterator[str]:
    column = section.timing
    metric = section.metric.replace("_", " ")
    titles = ["Model", "How it was made", "Size", "Smaller", "Parameters"]
    titles += ["ms a batch", "Faster"] if column else []
    titles += [f"{metric} (95 %)", "n", "Share kept (95 %)"]
    yield _line(titles)
    yield _line(["---", "---", *["---:"] * (len(titles) - 2)])
    for one in list_candidates(section):
        yield _line(_list_cells(section, one))
    yield ""
    note = "Size: weights and graph on disk. Share kept: of the baseline's score, paired interval."
    if any(one.seeds for one in list_candidates(section)):
        note += " Of several seeds the mean and the largest file; intervals over seeds and examples."
    if column:
        spread = "the range over sessions" if column.spread == "sessions" else "the quartiles over rounds"
        sessions = f"{len(column.sessions)} session{'s' * (len(column.sessions) != 1)}"
        note += f" Latency: {format_condition(column.condition)}; {column.machine}; {sessions}, in brackets {spread}."
    yield escape(note)


def _render_seeds(section: Section) -> Iterator[str]:
    metric = section.metric.replace("_", " ")
    seeds = sorted({seed for group in section.groups for seed in group.seeds})
    yield "### Each seed"
    yield ""
    yield _line(["Model", f"Mean {metric} (95 %)", *(f"Seed {seed}" for seed in seeds)])
    yield _line(["---", *["---:"] * (len(seeds) + 1)])
    for group in section.groups:
        scores = dict(zip(group.seeds, (section.find(run).primary for run in group.runs), strict=True))
        told = [format_score(found.score.value) if (found := scores.get(seed)) else "–" for seed in seeds]
        yield _line([escape(name_group(section, group)), _write_interval(group.score, "score"), *told])


def _render_fidelity(section: Section) -> Iterator[str]:
    baseline = section.find(section.baseline)
    yield f"### Stands in for {escape(baseline.short)}"
    yield ""
    yield _line(["Model", "Split", "n", "Agreement", "Calibration error"])
    yield _line(["---", "---", "---:", "---:", "---:"])
    for one in list_candidates(section):
        for found in one.fidelity:
            error = found.calibration_error
            yield _line(
                [
                    escape(one.name),
                    escape(found.split),
                    str(found.n),
                    describe_agreement(found, base=one.is_baseline),
                    "–" if error is None else format_score(error),
                ]
            )
    yield ""
    note = explain_fidelity(baseline.short, baseline.run.answered_task.kind)
    yield escape(
        f"{note} Of several seeds the mean, the lowest and the highest."
        if any(one.seeds for one in list_candidates(section))
        else note
    )


def _render_parts(section: Section) -> Iterator[str]:
    yield "### Where parameters and milliseconds go"
    yield ""
    yield _line(["Model", "Parameters", "Milliseconds"])
    yield _line(["---", "---", "---"])
    for row in section.rows:
        if row.parts:
            counts = [f"{each.part} {format_count(each.value)}" for each in row.parts.parameters]
            times = [f"{each.part} {format_significant(each.value)}" for each in row.parts.milliseconds]
            yield _line([escape(row.short), *(escape(", ".join(told) or "–") for told in (counts, times))])


def _render_ancestors(section: Section) -> Iterator[str]:
    yield "### Before the task"
    yield ""
    numbers = [
        "Steps",
        "Tokens read",
        "Minutes",
        "Hold-out loss",
        "Hidden words alone",
        "Unigram entropy",
    ]
    yield _line(["Model", "Stage", "On", *numbers])
    yield _line(["---", "---", "---", *["---:"] * len(numbers)])
    for made in section.ancestors:
        facts = made.run.facts
        yield _line(
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
    yield ""
    yield escape(
        "Hold-out loss: of the weights kept, a mean over examples. Hidden words alone: their loss at the last look, a "
        "mean over hidden words, in nats; who knows how frequent each token is and nothing else has the unigram "
        "entropy there."
    )


def _write_fact(fact: object, write: Callable[[float], str]) -> str:
    return write(fact) if isinstance(fact, int | float) else "–"


def _list_cells(section: Section, one: Candidate) -> list[str]:
    row, base = one.heaviest, one.is_baseline
    cells = [escape(one.name), escape(row.made), format_bytes(row.bytes)]
    cells += [
        "baseline" if base else format_change(row.smaller, "smaller", "larger"),
        format_count(row.run.parameters),
    ]
    if section.timing:
        cells += _list_timing_cells(one.find_timing(section.timing), base=base)
    if one.score is None or row.primary is None:
        return [*cells, "–", "–", "–"]
    kept = one.retention
    return [
        *cells,
        f"{format_score(one.score.value)} ({format_range(one.score, 'score')})",
        str(row.primary.n),
        f"{format_share(kept.value)} ({format_range(kept, 'share')})"
        if kept
        else "baseline"
        if base
        else "not compared",
    ]


def _list_timing_cells(timing: Timing | None, *, base: bool) -> list[str]:
    if timing is None:
        return ["–", "not compared"]
    times = f"{format_significant(timing.milliseconds.value)} ({format_range(timing.milliseconds, 'milliseconds')})"
    if timing.speedup is None:
        return [times, "baseline" if base else "not compared"]
    faster = format_change(timing.speedup.value, "faster", "slower")
    return [times, f"{faster} ({format_range(timing.speedup, 'ratio')})"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _render_making(report: Report) -> Iterator[str]:
    environments = list_environments(report)
    yield "## What was done"
    for section in report.sections:
        for one in order_by_making(list_candidates(section)):
            row = one.rows[0]
            yield ""
            yield f"### {escape(row.label)}"
            yield ""
            for link in list_parents(section, one.runs):
                yield f"- {escape(link.role)}: ← {escape(link.parent)}"
            if one.seeds:
                yield f"- seeds: {' | '.join(map(str, one.seeds))}"
            yield f"- {describe_size(one.heaviest)}"
            yield from (
                f"- {escape(term)}: {escape(value)}"
                for term, value in join_essentials([row.run for row in one.rows])
            )
            yield f"- Environment {', '.join(dict.fromkeys(environments[run][0] for run in one.runs))}"
    yield ""
    yield "## Do it again"
    yield ""
    yield from fence("\n".join(list_commands(report)), "bash")
    yield ""
    yield "Times are taken by `compress measure`; another session gives other times."
    yield "`compress report --check` renders the pages anew from `data/` and compares every byte and checksum."
    yield ""
    yield "## Environments"
    yield ""
    yield from (f"- {letter}: {escape(text)}" for letter, text in dict.fromkeys(environments.values()))
