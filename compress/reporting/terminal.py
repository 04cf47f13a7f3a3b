"""The report as a table for the terminal: no wider than 100 columns, and clear without colours."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compress.reporting.candidates import Candidate, list_candidates, list_engines
from compress.reporting.formats import (
    format_bytes,
    format_change,
    format_change_range,
    format_change_with_range,
    format_count,
    format_difference,
    format_range,
    format_score,
    format_share,
    format_significant,
)
from compress.reporting.headline import mark_caveats
from compress.reporting.schema import Interval, Overview, Report, Section
from compress.reporting.wording import (
    describe_agreement,
    describe_engines,
    describe_sessions,
    describe_two_engines,
    format_condition,
    join_names,
    name_metric,
    name_task,
    say_constant,
    show,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from compress.reporting.pairwise import Discordance, Pairwise, Side, TaskPair

WIDTH = 100


def render_table(report: Report) -> "RenderableType":
    """One table a task, its headline above and its caveats below."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for section in report.sections:
        if section.headline:
            parts += [Text(show(section.headline.sentence)), Text("")]
        parts.append(_build_table(section))
        if len(section.rows) > 1 and any(row.fidelity for row in section.rows):
            parts.append(_build_fidelity_table(section))
        parts += [
            Text(" ".join(filter(None, ("!", mark, show(caveat.text)))))
            for mark, caveat in mark_caveats(section)
        ]
    if report.overview:
        if report.overview.sentence:
            parts += [Text(show(report.overview.sentence)), Text("")]
            parts += [Text(f"{name}: {show(text)}") for name, text in report.overview.certainty]
            parts.append(Text(""))
        parts.append(_build_overview_table(report.overview))
    return Group(*parts)


def _begin_table(title: str, *notes: str) -> "Table":
    """A table with its first column, the models; below it each note begins a line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(show(title)),
        caption=Text("\n".join(map(show, notes))) if notes else None,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
        width=WIDTH,
    )
    table.add_column("model", overflow="fold", ratio=1)
    return table


def _build_table(section: Section) -> "RenderableType":
    from rich.text import Text

    column = section.timing
    table = _begin_table(
        f"{section.task} (brackets: 95 % intervals; of times, the spread)",
        *_list_notes(section),
    )
    table.add_column("size", justify="right", min_width=8)
    table.add_column("params", justify="right", min_width=6)
    if column:
        table.add_column("ms a batch", justify="right", min_width=11)
    table.add_column(name_metric(section.metric), justify="right", min_width=13)
    table.add_column("share kept", justify="right", min_width=12)
    for one in list_candidates(section):
        table.add_row(*(Text(cell) for cell in _list_cells(section, one)))
    return table


def _list_notes(section: Section) -> Iterator[str]:
    if section.constant is not None:
        yield say_constant(section.constant)
    if column := section.timing:
        engines = describe_engines(list_engines(section))
        yield f"{format_condition(column.condition)}; {column.machine}; timed {engines}"


def _build_overview_table(overview: Overview) -> "RenderableType":
    """Values alone for the tasks, so that nine of them fit; their intervals are on the page."""
    from rich.text import Text

    names = [show(name_task(task)) for task in overview.tasks]
    table = _begin_table(f"mean of {join_names(names)} (brackets: 95 % intervals)")
    for name in ("mean", "share kept", *names):
        table.add_column(Text(name), justify="right", overflow="fold")
    for row in overview.rows:
        scores = [format_score(score.value) if score else "–" for score in row.scores]
        mean = _stack(format_score(row.mean.value), row.mean, "score") if row.mean else "–"
        kept = _stack(format_share(row.kept.value), row.kept, "share") if row.kept else "–"
        table.add_row(*(Text(cell) for cell in (show(row.name), mean, kept, *scores)))
    return table


def _build_fidelity_table(section: Section) -> "RenderableType":
    from rich.text import Text

    baseline = section.find(section.baseline)
    table = _begin_table(f"stands in for {baseline.short}")
    table.add_column("split", overflow="fold")
    table.add_column("agreement", justify="right")
    table.add_column("calibration error", justify="right")
    for one in list_candidates(section):
        for found in one.fidelity:
            error = "–" if found.calibration_error is None else format_score(found.calibration_error)
            agreement = describe_agreement(found, base=one.is_baseline)
            cells = (one.name, found.split, agreement, error)
            table.add_row(*(Text(show(cell)) for cell in cells))
    return table


def _list_cells(section: Section, one: Candidate) -> list[str]:
    row, base = one.heaviest, one.is_baseline
    made = f"{show(row.made)}{', baseline' if base else ''}"
    size = format_bytes(row.bytes)
    cells = [
        f"{show(one.name)}\n{made}",
        size if base else f"{size}\n{format_change(row.smaller, 'smaller', 'larger')}",
    ]
    cells.append(format_count(row.run.parameters))
    if section.timing:
        cells.append(_describe_timing(section, one))
    if one.score is None or row.primary is None:
        return [*cells, "–", "–"]
    n = f"\nn = {row.primary.n}" + (f", {len(one.seeds)} seeds" if one.seeds else "")
    cells.append(f"{_stack(format_score(one.score.value), one.score, 'score')}{n}")
    kept = one.retention
    otherwise = "baseline" if base else "not compared"
    return [*cells, _stack(format_share(kept.value), kept, "share") if kept else otherwise]


def _describe_timing(section: Section, one: Candidate) -> str:
    timing = one.find_timing(section.timing)
    if timing is None:
        return "–"
    times = format_significant(timing.milliseconds.value)
    if timing.speedup is None:
        return _stack(times, timing.milliseconds, "milliseconds")
    faster = format_change_with_range(timing.speedup, "faster", "slower", between="\n")
    return f"{times}\n{faster}"


def _stack(value: str, interval: Interval, style: str) -> str:
    return f"{value}\n({format_range(interval, style)})"


def render_pairwise(pairwise: "Pairwise") -> "RenderableType":
    """Two models against each other: the mean over several tasks, for each task the scores, what is tested, what the first saves."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(show(line)) for line in _list_overall(pairwise)]
    for pair in pairwise.tasks:
        parts += [Text(show(line)) for line in _introduce(pair)]
        parts.append(_build_pair_table(pair))
        parts += [Text(show(line)) for line in _list_tests(pair)]
        parts += [Text(show(line)) for line in _list_savings(pair)]
        parts.append(Text(""))
    parts += [
        Text(
            show(
                f"Left out: {name_task(each.task)}, where {each.lacking!r} is the name of no model, or of several."
            )
        )
        for each in pairwise.left_out
    ]
    return Group(*(parts if pairwise.left_out else parts[:-1]))


def _list_overall(pairwise: "Pairwise") -> Iterator[str]:
    found = pairwise.overall
    if found is None:
        return
    yield f"Mean of {join_names([name_task(task) for task in found.tasks])} (brackets: 95 % intervals; of A − B, paired)"
    sides = zip("AB", zip(*((pair.ours, pair.theirs) for pair in pairwise.tasks), strict=True), strict=True)
    for (letter, several), mean, size in zip(sides, (found.ours, found.theirs), found.bytes, strict=True):
        names = " / ".join(dict.fromkeys(f"{side.name} · {side.made}" for side in several))
        score = f"{format_score(mean.value)} ({format_range(mean, 'score')})"
        yield f"{letter}: {score}; {names}; {format_bytes(size)}"
    smaller = f"; A is {format_change(found.smaller.value, 'smaller', 'larger')}" if found.smaller else ""
    yield f"A − B: {format_difference(found.gain)}{smaller}"
    if found.outside:
        yield f"Not in the mean: {join_names([name_task(task) for task in found.outside])}"
    yield ""


def _introduce(pair: "TaskPair") -> list[str]:
    return [
        f"{pair.task} (brackets: 95 % intervals over examples and seeds; of A − B, paired)",
        *(f"{letter}: {_describe_side(side)}" for letter, side in (("A", pair.ours), ("B", pair.theirs))),
    ]


def _describe_side(side: "Side") -> str:
    seeds = f"seed{'s' * (len(side.seeds) > 1)} {', '.join(map(str, side.seeds))}"
    return f"{side.name} · {side.made}; {seeds}; {format_bytes(side.bytes)} ({', '.join(side.runs)})"


def _build_pair_table(pair: "TaskPair") -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("split", overflow="fold")
    table.add_column("metric", overflow="fold")
    for name in ("n", "A", "B", "A − B"):
        table.add_column(name, justify="right")
    for split in pair.splits:
        for each in split.metrics:
            scores = (_stack(format_score(side.value), side, "score") for side in (each.ours, each.theirs))
            cells = (split.split, name_metric(each.metric), str(split.n), *scores)
            table.add_row(
                *(Text(show(cell)) for cell in cells[:3]), *map(Text, cells[3:]), format_difference(each.gain)
            )
    return table


def _list_tests(pair: "TaskPair") -> list[str]:
    several = len(pair.ours.seeds) + len(pair.theirs.seeds) > 2
    return [
        f"McNemar, {split.split}{_name_seeds(test) if several else ''}: both right {test.both}, only A {test.only_ours}, "
        f"only B {test.only_theirs}, neither {test.neither}; p = {format_significant(test.p_value, 2)} ({test.test})"
        for split in pair.splits
        for test in split.tests
    ]


def _name_seeds(test: "Discordance") -> str:
    return f", seeds {test.seeds[0]} and {test.seeds[1]}"


def _list_savings(pair: "TaskPair") -> list[str]:
    lines = [f"A is {format_change(pair.smaller, 'smaller', 'larger')} than B."] if pair.smaller else []
    for speed in pair.speeds:
        faster = format_change(speed.faster.value, "faster", "slower")
        sessions = describe_sessions(speed, f"{format_change_range(speed.faster)}×")
        ours, theirs = speed.engines
        engines = describe_two_engines(("A", ours), ("B", theirs))
        where = f"{format_condition(speed.condition)}; {speed.machine}; {engines}"
        lines.append(f"A is {faster} than B: {where}. {sessions}")
    if pair.speeds:
        return lines
    reason = "No measuring session has both"
    if pair.devices:
        reason = f"Measured on different devices, A on {pair.devices[0]} and B on {pair.devices[1]}"
    return [*lines, f"{reason}: their speed is not compared."]
