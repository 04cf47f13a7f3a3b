"""The charts of a report: score against size and score against latency, of a task's models and of the mean over tasks."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from compress.reporting.arrows import find_arrows
from compress.reporting.candidates import Candidate, join_milliseconds, list_timings
from compress.reporting.formats import format_bytes, format_significant
from compress.reporting.lineage import shorten_run
from compress.reporting.plots import Plot, draw
from compress.reporting.points import (
    Point,
    choose_shape,
    drop_shared_name,
    list_points,
    number_points,
    shorten_names,
)
from compress.reporting.schema import Interval, Overview, Report, Section
from compress.reporting.wording import join_names, name_task


def plot_bytes(section: Section) -> Plot | None:
    """Score against bytes on disk; None with fewer than two comparable runs."""
    points, _ = _list_charts(section)
    return _plot(points, "Bytes on disk (log)", section.metric, section, _write_size)


def plot_latency(section: Section) -> Plot | None:
    """Score against latency in the comparison's sessions; None with fewer than two runs that have both."""
    _, points = _list_charts(section)
    return _plot(points, "Milliseconds a batch (log)", section.metric, section, _write_milliseconds)


def _list_charts(section: Section) -> list[list[Point]]:
    """The points of both charts of a section, a model with the same number on both."""

    def measure(one: Candidate) -> Interval | None:
        timing = one.find_timing(section.timing)
        return timing.milliseconds if timing else None

    return number_points([list_points(section, _size), list_points(section, measure)])


def plot_means(report: Report) -> Plot | None:
    """The mean over several tasks against the bytes of the largest file; None with fewer than two models on all of them."""
    if report.overview is None:
        return None
    points, _ = _list_mean_charts(report, report.overview)
    first = _find_first(report, report.overview)
    return _plot(points, "Bytes on disk (log)", "mean score", first, _write_size)


def plot_mean_latency(report: Report) -> Plot | None:
    """The mean against the latency on the tasks that were timed; None where the baseline and another do not have both."""
    overview = report.overview
    if overview is None:
        return None
    _, points = _list_mean_charts(report, overview)
    if not any(point.baseline for point in points):
        return None
    title = f"Milliseconds a batch, timed on {join_names([name_task(task) for task in overview.timed])} (log)"
    return _plot(points, title, "mean score", _find_first(report, overview), _write_milliseconds)


def _find_first(report: Report, overview: Overview) -> Section:
    return next(each for each in report.sections if each.task == overview.tasks[0])


def _list_mean_charts(report: Report, overview: Overview) -> list[list[Point]]:
    """The points of both charts of an overview, a model with the same number on both."""
    sizes = shorten_names(_list_means(_find_first(report, overview), overview))
    speeds = []
    for point in sizes:
        row = next(each for each in overview.rows if each.runs == point.runs)
        timings = [timing for _, timing in list_timings(overview, row, report.sections)]
        cost = join_milliseconds(timings) if row.faster or row.baseline else None
        if cost and len(timings) == len(overview.timed):
            speeds.append(replace(point, x=cost.value, across=cost if cost.high > cost.low else None))
    return number_points([sizes, speeds])


def _list_means(first: Section, overview: Overview) -> list[Point]:
    points = []
    for row in overview.rows:
        here = first.list_rows(row.runs)
        if row.mean and row.bytes and here:
            points.append(
                Point(
                    label=row.name,
                    x=row.bytes,
                    y=row.mean,
                    across=None,
                    baseline=row.baseline,
                    shape=choose_shape(here[0], row.baseline),
                    runs=row.runs,
                    chosen=row.name == overview.chosen,
                    last=shorten_run(here[0].run),
                )
            )
    return points


def _write_size(value: float) -> str:
    return format_bytes(value, 2)


def _write_milliseconds(value: float) -> str:
    return format_significant(value, 2)


def _size(one: Candidate) -> Interval | None:
    size = one.heaviest.bytes
    return Interval(value=size, low=size, high=size) if size > 0 else None


def _plot(
    points: Sequence[Point], x_title: str, metric: str, section: Section, write: Callable[[float], str]
) -> Plot | None:
    """With the arrows of a section's lineage."""
    if len(points) < 2:
        return None
    places = {run: place for place, point in enumerate(points) for run in point.runs}
    cut, shared = drop_shared_name(points)
    plot = draw(cut, x_title, metric, write, arrows=find_arrows(section, places))
    return replace(plot, shared=shared)
