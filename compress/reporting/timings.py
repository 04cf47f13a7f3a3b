"""Which latencies may stand side by side, and how many times faster one model is than another.

Numbers are compared inside a session only, round by round, since the models' rounds alternated there:
whatever slowed the machine down for a while slowed all of them down.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from compress.environment import Environment
from compress.noise import list_latencies, round_medians
from compress.reporting.data import RunData
from compress.reporting.measured import tell_all
from compress.reporting.schema import Condition, Interval, Timing, TimingColumn
from compress.reporting.wording import describe_machine, describe_versions
from compress.runs import Measurement, Session
from compress.statistics import summarize

Members = Mapping[str, Session]
"""Run's id → its file of one session, for the runs that the session measured on one machine."""
Setting = tuple[str, tuple[tuple[str, str, str], ...]]
"""A machine, and of each run measured there: id, engine, versions. Sessions of one setting may be pooled."""


def compare_timings(runs: Sequence[RunData], baseline: str) -> tuple[TimingColumn, ...]:
    """A column for each setting and condition; first the ones with the baseline and the most runs.

    Args:
        runs: Of one task.
        baseline: The id of the run that speed-ups are relative to.
    """
    columns = []
    for (machine, _), sessions in _group_sessions(runs).items():
        files = [file for members in sessions for file in members.values()]
        conditions = {condition_of(each) for file in files for each in list_latencies(file)}
        columns += [_build_column(machine, condition, sessions, baseline) for condition in conditions]
    return tuple(sorted(columns, key=lambda column: _rank(column, baseline)))


def _rank(column: TimingColumn, baseline: str) -> tuple[object, ...]:
    condition = column.condition
    return (
        column.find(baseline) is None,
        -len(column.timings),
        condition.device != "cpu",
        condition.batch or 0,
        condition.length == "task",
        0 if condition.length == "task" else condition.length or 0,
        condition.threads or 0,
        condition.fingerprint or "",
        -len(column.sessions),
        column.sessions,
        column.machine,
    )


def _group_sessions(runs: Sequence[RunData]) -> dict[Setting, list[Members]]:
    """Sessions by setting; in each setting in the order of their ids."""
    measured: dict[tuple[str, str], dict[str, Session]] = defaultdict(dict)
    for data in runs:
        for session in data.sessions:
            measured[session.session, describe_machine(session.environment)][data.run.id] = session
    groups: dict[Setting, list[Members]] = defaultdict(list)
    for (_, machine), members in sorted(measured.items(), key=lambda item: item[0]):
        parts = sorted((run, file.engine, _versions(file.environment)) for run, file in members.items())
        groups[machine, tuple(parts)].append(members)
    return groups


def _versions(environment: Environment) -> str:
    """The versions that timings depend on; this package's own moves with every commit and is none of them."""
    kept = {name: version for name, version in environment.versions.items() if name != "compress-encoders"}
    return describe_versions(environment.model_copy(update={"versions": kept}))


def condition_of(measurement: Measurement) -> Condition:
    """Under what a quantity was measured."""
    fields = {name: measurement.conditions.get(name) for name in Condition.model_fields}
    return Condition.model_validate(fields)


def _build_column(
    machine: str, condition: Condition, sessions: Sequence[Members], baseline: str
) -> TimingColumn:
    taken: dict[str, dict[str, Measurement]] = defaultdict(dict)  # run → session → measurement
    for members in sessions:
        for run, session in members.items():
            for measurement in list_latencies(session):
                if condition_of(measurement) == condition:
                    taken[run][session.session] = measurement
    reference = taken.get(baseline, {})
    timings = [
        Timing(
            run=run,
            engine=next(members[run].engine for members in sessions if run in members),
            milliseconds=_pool_milliseconds(list(measured.values())),
            speedup=None if run == baseline else _pool_speedups(measured, reference),
            quantities=_pool_quantities(run, condition, sessions),
        )
        for run, measured in sorted(taken.items())
    ]
    names = sorted({session for measured in taken.values() for session in measured})
    rounds = min(len(measurement.samples) for measured in taken.values() for measurement in measured.values())
    return TimingColumn(
        machine=machine,
        condition=condition,
        sessions=tuple(names),
        rounds=rounds,
        spread="sessions" if len(names) > 1 else "rounds",
        timings=tuple(timings),
    )


def _pool_milliseconds(measured: Sequence[Measurement]) -> Interval:
    """Median of the sessions' medians; of one session, its median with the quartiles over rounds."""
    medians = [summarize(list(chain.from_iterable(each.samples))).median for each in measured]
    return _pool(medians, round_medians(measured[0]))


def _pool_speedups(
    measured: Mapping[str, Measurement], reference: Mapping[str, Measurement]
) -> Interval | None:
    """Median over sessions of the median over rounds of (baseline's round median / this round median).

    None where no session has both with as many rounds: then round i of one is not round i of the other.
    """
    by_session = []
    for session in sorted(measured.keys() & reference.keys()):
        own, other = round_medians(measured[session]), round_medians(reference[session])
        if len(own) == len(other) and min(own, default=0.0) > 0:
            by_session.append([slow / fast for slow, fast in zip(other, own, strict=True)])
    if not by_session:
        return None
    return _pool([float(np.median(ratios)) for ratios in by_session], by_session[0])


def _pool(medians: Sequence[float], rounds: Sequence[float]) -> Interval:
    if len(medians) > 1:
        return Interval(value=float(np.median(medians)), low=min(medians), high=max(medians))
    summary = summarize(rounds)
    return Interval(value=medians[0], low=summary.low, high=summary.high)


def _pool_quantities(run: str, condition: Condition, sessions: Sequence[Members]) -> dict[str, float]:
    """Name → median over the sessions, of what a column tells besides; what a session's record lacks is no condition of it."""
    under = condition.model_dump()
    found: dict[str, list[float]] = defaultdict(list)
    for members in sessions:
        recorded = {
            measurement.name: measurement.value
            for measurement in (members[run].measurements if run in members else ())
            if all(under.get(name) == value for name, value in measurement.conditions.items())
        }
        for name, value in tell_all(recorded).items():
            found[name].append(value)
    return {name: float(np.median(values)) for name, values in found.items()}
