"""Where a model's parameters and milliseconds go: what sessions say of its parts."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from compress.reporting.data import RunData
from compress.reporting.schema import Parts, PartShare, TimingColumn
from compress.reporting.timings import condition_of
from compress.reporting.wording import describe_machine
from compress.runs import PARTS, Measurement, Session

PARAMETERS, LATENCY = "parameters", "part_latency"


def read_parts(data: RunData, column: TimingColumn | None) -> Parts | None:
    """What the sessions of a run say of its parts; None where they say nothing.

    Parameters are those of the newest session that counted them; milliseconds are medians over the column's sessions.

    Args:
        data: The run.
        column: The comparison's latencies: milliseconds of other sessions or machines, or under another condition, are
            left out, so that they are parts of the latency beside them. None where there are none: then they all are.
    """
    parameters: tuple[PartShare, ...] = ()
    times: dict[str, list[float]] = defaultdict(list)
    for session in sorted(data.sessions, key=lambda session: (session.started, session.session)):
        counted = _select(session.measurements, PARAMETERS, lambda _: True)
        parameters = _order({part: each.value for part, each in counted.items()}) or parameters
        for part, each in _list_timed(session, column).items():
            times[part].append(each.value)
    milliseconds = _order({part: float(np.median(values)) for part, values in times.items()})
    if not parameters and not milliseconds:
        return None
    return Parts(parameters=parameters, milliseconds=milliseconds)


def _list_timed(session: Session, column: TimingColumn | None) -> dict[str, Measurement]:
    """Part → its milliseconds, where a session is one of a column's."""
    if column is None or session.session not in column.sessions:
        return {}
    if describe_machine(session.environment) != column.machine:
        return {}
    return _select(session.measurements, LATENCY, lambda each: condition_of(each) == column.condition)


def _select(
    measurements: Sequence[Measurement], name: str, wanted: Callable[[Measurement], bool]
) -> dict[str, Measurement]:
    """Part → its measurement of that name; those of the whole model have no part."""
    return {
        str(each.conditions["part"]): each
        for each in measurements
        if each.name == name and "part" in each.conditions and wanted(each)
    }


def _order(values: dict[str, float]) -> tuple[PartShare, ...]:
    """The parts in their order, unknown ones last, with what share of the sum each has; those of nothing are left out."""
    total = sum(values.values())
    if total <= 0:
        return ()
    names = [*(part for part in PARTS if part in values), *sorted(values.keys() - set(PARTS))]
    return tuple(
        PartShare(part=name, value=values[name], share=values[name] / total)
        for name in names
        if values[name] > 0
    )
