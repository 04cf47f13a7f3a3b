"""What a report tells of a measured model beside its latency: each quantity's title, column and wording."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from compress.reporting.formats import format_bytes, format_significant
from compress.reporting.schema import TimingColumn


class Quantity(NamedTuple):
    """One of `compress.quantities`.

    Attributes:
        name: In the record of a session, or one that follows from it.
        title: In a table; with the unit, where `write` adds none.
        column: In a sheet; with the unit.
        write: Its number as a table tells it.
        more: Whether more of it is better.
        less: Which quantity of the record it is, and which is taken away from that; None where it is recorded itself.
        note: What a reader must know of it.
    """

    name: str
    title: str
    column: str
    write: Callable[[float], str]
    more: bool = False
    less: tuple[str, str] | None = None
    note: str = ""


QUANTITIES = (
    Quantity("latency_p95", "p95, ms", "p95_milliseconds", format_significant),
    Quantity("throughput", "Texts/s", "texts_per_second", format_significant, more=True),
    Quantity("flops", "GFLOP", "flop", lambda count: format_significant(count / 1e9)),
    Quantity("load_time", "Load time", "load_seconds", lambda seconds: f"{format_significant(seconds)} s"),
    Quantity("peak_memory", "Peak memory", "peak_bytes", format_bytes),
    Quantity(
        "model_memory",
        "Memory for the model",
        "model_bytes",
        format_bytes,
        less=("peak_memory", "baseline_memory"),
        note=(
            "Peak memory: the most that the process held, Python and the libraries with it. Memory for the model: that peak less "
            "what the process held before it loaded the model; weights, activations and what the engine keeps of them."
        ),
    ),
    Quantity("peak_device_memory", "Peak GPU memory", "device_peak_bytes", format_bytes),
)


def list_known(column: TimingColumn) -> list[Quantity]:
    """The quantities that were measured of at least one of a column's models."""
    return [each for each in QUANTITIES if any(each.name in timing.quantities for timing in column.timings)]


def explain_known(column: TimingColumn) -> str:
    """What a reader must know of these quantities; empty where there is nothing to say."""
    return " ".join(each.note for each in list_known(column) if each.note)


def tell_all(recorded: Mapping[str, float]) -> dict[str, float]:
    """Every quantity that a session's record of one model has, or that follows from it."""
    found = {}
    for each in QUANTITIES:
        whole, part = each.less or (each.name, None)
        if whole in recorded and (part is None or part in recorded):
            found[each.name] = recorded[whole] - (recorded[part] if part else 0)
    return found
