"""What a report tells of a measured model beside its latency: each quantity's title, column and wording."""

from collections.abc import Callable
from typing import NamedTuple

from compress.reporting.schema import TimingColumn
from compress.reporting.wording import format_bytes, format_significant


class Quantity(NamedTuple):
    """One of `compress.quantities`.

    Attributes:
        name: In the record of a session.
        title: In a table; with the unit, where `write` adds none.
        column: In a sheet; with the unit.
        write: Its number as a table tells it.
        more: Whether more of it is better.
    """

    name: str
    title: str
    column: str
    write: Callable[[float], str]
    more: bool = False


QUANTITIES = (
    Quantity("latency_p95", "p95, ms", "p95_milliseconds", format_significant),
    Quantity("throughput", "Texts/s", "texts_per_second", format_significant, more=True),
    Quantity("flops", "GFLOP", "flop", lambda count: format_significant(count / 1e9)),
    Quantity("load_time", "Load time", "load_seconds", lambda seconds: f"{format_significant(seconds)} s"),
    Quantity("peak_memory", "Peak memory", "peak_bytes", format_bytes),
    Quantity("peak_device_memory", "Peak GPU memory", "device_peak_bytes", format_bytes),
)


def list_known(column: TimingColumn) -> list[Quantity]:
    """The quantities that were measured of at least one of a column's models."""
    return [each for each in QUANTITIES if any(each.name in timing.quantities for timing in column.timings)]
