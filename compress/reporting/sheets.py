"""The report's numbers as CSV, for whoever goes on with them: made of the report, as the pages are."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

from compress.reporting.candidates import list_candidates
from compress.reporting.measured import QUANTITIES
from compress.reporting.schema import Interval, Overview, Report, Row, Section
from compress.reporting.wording import show

MODELS_FILE, SCORES_FILE, TIMINGS_FILE = "models.csv", "scores.csv", "timings.csv"
SHEETS = frozenset({MODELS_FILE, SCORES_FILE, TIMINGS_FILE})
"""The files beside the data that follow from them."""
DIGITS = 6
"""Significant ones: what lies beyond may differ from one machine to the next."""

MODELS = (
    "task model made seeds baseline bytes smaller parameters metric n value low high kept kept_low kept_high milliseconds "
    "speedup speedup_low speedup_high runs"
)
MODEL = "task model made run seed"
SCORES = f"{MODEL} split metric n value low high kept kept_low kept_high engine evaluation truncated"
TIMINGS = (
    f"{MODEL} engine machine device batch length texts_of texts fingerprint threads milliseconds low high speedup speedup_low speedup_high "
    f"spread sessions rounds {' '.join(quantity.column for quantity in QUANTITIES)}"
)


def render_sheets(report: Report) -> dict[str, str]:
    """File → its text: a row for each model, one for each run, split and metric, and one for each run and condition.

    A model's seeds are one row, their mean; its mean over several tasks is a row of the task `mean`. Agreement with the
    baseline and the expected calibration error stand among the metrics. What is not known is empty.
    """
    models = [line for section in report.sections for line in _list_models(section)]
    means = _list_means(report.overview) if report.overview else ()
    scores = (line for section in report.sections for line in _list_scores(section))
    timings = (line for section in report.sections for line in _list_timings(section))
    return {
        MODELS_FILE: _write(MODELS, [*models, *means]),
        SCORES_FILE: _write(SCORES, scores),
        TIMINGS_FILE: _write(TIMINGS, timings),
    }


def _list_models(section: Section) -> Iterator[Sequence[object]]:
    for one in list_candidates(section):
        row, timing = one.heaviest, one.find_timing(section.timing)
        seeds = one.seeds or (row.run.seed,)
        yield (
            *(section.task, one.name, row.made, _join(seeds), one.is_baseline),
            *(row.bytes, row.smaller, row.run.parameters),
            *(section.metric, row.primary.n if row.primary else None),
            *_bounds(one.score),
            *_bounds(one.retention),
            timing.milliseconds.value if timing else None,
            *_bounds(timing.speedup if timing else None),
            _join(one.runs),
        )


def _list_means(overview: Overview) -> Iterator[Sequence[object]]:
    metric = f"mean of {_join(overview.tasks)}"
    for row in overview.rows:
        if row.mean:
            smaller = row.smaller.value if row.smaller else None
            yield (
                *("mean", row.name, None, None, row.baseline, row.bytes, smaller, None, metric, None),
                *_bounds(row.mean),
                *_bounds(row.kept),
                None,
                *_bounds(row.faster),
                _join(row.runs),
            )


def _join(values: Iterable[object]) -> str:
    return " ".join(map(str, values))


def _list_scores(section: Section) -> Iterator[Sequence[object]]:
    for row in section.rows:
        model = _name(section, row)
        for found in row.scores:
            numbers = (*_bounds(found.score), *_bounds(found.retention))
            origin = (found.engine, found.evaluation, found.truncated)
            yield (*model, found.split, found.metric, found.n, *numbers, *origin)
        for each in row.fidelity:
            for metric, value in (
                ("agreement", _bounds(each.agreement)),
                ("expected_calibration_error", (each.calibration_error, None, None)),
            ):
                if value[0] is not None:
                    yield (*model, each.split, metric, each.n, *value, *[None] * 6)


def _list_timings(section: Section) -> Iterator[Sequence[object]]:
    for column in section.timings:
        under = column.condition
        for timing in column.timings:
            yield (
                *_name(section, section.find(timing.run)),
                timing.engine,
                column.machine,
                *(under.device, under.batch, under.length),
                *(under.task, under.texts, under.fingerprint, under.threads),
                *_bounds(timing.milliseconds),
                *_bounds(timing.speedup),
                *(column.spread, len(column.sessions), column.rounds),
                *(timing.quantities.get(quantity.name) for quantity in QUANTITIES),
            )


def _name(section: Section, row: Row) -> tuple[object, ...]:
    return section.task, row.short, row.made, row.run.id, row.run.seed


def _bounds(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (interval.value, interval.low, interval.high) if interval else (None, None, None)


def _write(header: str, lines: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header.split())
    writer.writerows([_tell(cell) for cell in line] for line in lines)
    return stream.getvalue()


def _tell(cell: object) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return f"{cell:.{DIGITS}g}" if isinstance(cell, float) else show(str(cell))
