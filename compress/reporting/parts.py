"""Where a model's parameters and milliseconds go: what sessions say of its parts."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from compress.reporting.data import RunData
from compress.reporting.schema import Condition, Parts, PartShare
from compress.reporting.timings import condition_of
from compress.runs import PARTS, Measurement

PARAMETERS, LATENCY = "parameters", "part_latency"


def read_parts(data: RunData, condition: Condition | None) -> Parts | None:
    """What the sessions of a run say of its parts; None where they say nothing.

    Parameters are those of the newest session that counted them; milliseconds are medians over the sessions.

    Args:
        data: The run.
        condition: Of the comparison's latencies: milliseconds under another one are left out. None where there are
            none: then milliseconds are left out, too.
    """
    parameters: tuple[PartShare, ...] = ()
    times: dict[str, list[float]] = defaultdict(list)
    for session in sorted(data.sessions, key=lambda session: (session.started, session.session)):
        counted = _select(session.measurements, PARAMETERS, lambda _: True)
        parameters = _order({part: each.value for part, each in counted.items()}) or parameters
        timed = _select(session.measurements, LATENCY, lambda each: condition_of(each) == condition)
        for part, each in timed.items():
            times[part].append(each.value)
    milliseconds = _order({part: float(np.median(values)) for part, values in times.items()})
    if not parameters and not milliseconds:
        return None
    return Parts(parameters=parameters, milliseconds=milliseconds)


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
