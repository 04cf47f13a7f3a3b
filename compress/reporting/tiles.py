"""An answer's three numbers: how much smaller, how much faster, how much of the score is kept."""

from collections.abc import Sequence

from compress.reporting.candidates import Candidate, join_milliseconds, list_timings
from compress.reporting.formats import (
    format_bytes,
    format_change,
    format_score,
    format_share,
    format_significant,
)
from compress.reporting.headline import say_why_not, say_why_untimed
from compress.reporting.schema import Overview, OverviewRow, Report, Row, Section, Timing
from compress.reporting.wording import (
    format_condition,
    join_names,
    name_engine,
    name_metric,
    name_task,
    strip_texts,
)


def list_figures(
    section: Section, candidates: Sequence[Candidate], baseline: Candidate
) -> list[dict[str, str]]:
    """The headline's three numbers, each with what it is and the two values behind it."""
    if section.headline is None:
        return []
    one = next(each for each in candidates if section.headline.run in each.runs)
    return [
        _size_figure(one.heaviest, baseline),
        _speed_figure(section, one, baseline),
        _score_figure(section, one, baseline),
    ]


def list_overview_figures(report: Report) -> list[dict[str, str]]:
    """The same of the overview's model; none where no mean is compared."""
    overview = report.overview
    if overview is None or overview.chosen is None:
        return []
    row = next(each for each in overview.rows if each.name == overview.chosen)
    baseline = next(each for each in overview.rows if each.baseline)
    return [
        _mean_size_figure(row, baseline),
        _mean_speed_figure(overview, report.sections, row, baseline),
        _mean_score_figure(row, baseline),
    ]


def _mean_size_figure(row: OverviewRow, baseline: OverviewRow) -> dict[str, str]:
    text = f"{format_bytes(baseline.bytes)} → {format_bytes(row.bytes)}, the largest files of all tasks"
    change = format_change(row.smaller.value, "smaller", "larger") if row.smaller else "– size not compared"
    return _figure(change, text)


def _mean_speed_figure(
    overview: Overview, sections: Sequence[Section], row: OverviewRow, baseline: OverviewRow
) -> dict[str, str]:
    theirs, ours = (list_timings(overview, each, sections) for each in (baseline, row))
    before, after = (join_milliseconds([timing for _, timing in each]) for each in (theirs, ours))
    if row.faster is None or before is None or after is None:
        return _figure("– speed not compared", "the two were not timed alike on the tasks")
    first, last = (format_significant(each.value) for each in (before, after))
    another, engine = (_join_engines([timing for _, timing in each]) for each in (theirs, ours))
    condition = theirs[0][0].condition
    text = f"timed on {join_names([name_task(task) for task in overview.timed])}: "
    text += f"{first} ms{'' if engine == another else f' in {another}'} → {last} ms in {engine}"
    text += f", {format_condition(condition if len(theirs) == 1 else strip_texts(condition))}"
    return _figure(format_change(row.faster.value, "faster", "slower"), text)


def _join_engines(timings: Sequence[Timing]) -> str:
    return join_names(list(dict.fromkeys(name_engine(timing.engine) for timing in timings)))


def _mean_score_figure(row: OverviewRow, baseline: OverviewRow) -> dict[str, str]:
    scores = [format_score(each.mean.value) for each in (baseline, row) if each.mean]
    kept = f"{format_share(row.kept.value)} kept" if row.kept else "– mean not compared"
    return _figure(kept, f"mean score {' → '.join(scores)}")


def _size_figure(row: Row, baseline: Candidate) -> dict[str, str]:
    text = f"{format_bytes(baseline.heaviest.bytes)} → {format_bytes(row.bytes)}"
    return _figure(format_change(row.smaller, "smaller", "larger"), text)


def _speed_figure(section: Section, one: Candidate, baseline: Candidate) -> dict[str, str]:
    column = section.timing
    own = one.find_timing(column)
    other = baseline.find_timing(column)
    if column is None or own is None or other is None or own.speedup is None:
        return _figure("– speed not compared", say_why_untimed(section, one))
    before, after = (format_significant(timing.milliseconds.value) for timing in (other, own))
    engine, another = (name_engine(timing.engine) for timing in (own, other))
    text = f"{before} ms{'' if engine == another else f' in {another}'} → {after} ms in {engine}"
    text += f", {format_condition(column.condition)}"
    return _figure(format_change(own.speedup.value, "faster", "slower"), text)


def _score_figure(section: Section, one: Candidate, baseline: Candidate) -> dict[str, str]:
    metric, kept = name_metric(section.metric), one.retention
    if one.score is None or baseline.score is None or kept is None:
        return _figure(f"– {metric} not compared", say_why_not(section, one))
    scores = [format_score(each.score.value) for each in (baseline, one) if each.score]
    return _figure(f"{format_share(kept.value)} kept", f"{metric} {scores[0]} → {scores[1]}")


def _figure(value: str, text: str) -> dict[str, str]:
    number, _, words = value.partition(" % ") if " % " in value else value.partition(" ")
    if " % " in value:
        number = f"{number} %"
    return {"number": number, "words": words, "text": text}
