"""When a machine was too noisy for its timings to be trusted: one rule, for `compress measure` and for reports."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from compress.runs import Measurement, Session
from compress.statistics import summarize

WIDEST_SPREAD = 0.10
"""Timings whose spread is wider than this share of their median are flagged."""


class Noise(NamedTuple):
    """A model's timings that vary too much: at which shape, and by which share of their median."""

    session: str
    run: str
    shape: str
    spread: float


def relative_spread(value: float, low: float, high: float) -> float:
    """The distance of two bounds as a share of the value between them."""
    return (high - low) / value if value else 0.0


def round_medians(measurement: Measurement) -> list[float]:
    """The median of each round's samples."""
    return [float(np.median(samples)) for samples in measurement.samples if samples]


def find_noise(sessions: Sequence[Session]) -> list[Noise]:
    """The timings of sessions that varied too much over their rounds.

    Looked at are the quartiles over rounds of a model's latency, and of its ratio to the first model's of the session,
    which is what is compared: where the machine slowed down for a while, it stays. The wider of the two counts.
    """
    found = []
    for record in sessions:
        members = [each for each in sessions if each.session == record.session]
        first = next((each for each in members if each.run == record.models[0]), members[0])
        for measured in list_latencies(record):
            spread = _spread_of(measured, _same_shape(first, measured))
            if spread > WIDEST_SPREAD:
                shape = f"{measured.conditions.get('batch')} × {measured.conditions.get('length')}"
                found.append(Noise(record.session, record.run, shape, spread))
    return found


def describe_noise(found: Sequence[Noise]) -> str:
    """A sentence about what was found."""
    told = "; ".join(f"{each.run} by {each.spread:.0%} at {each.shape}" for each in found)
    return (
        f"The machine was too noisy for these timings, which vary by more than {WIDEST_SPREAD:.0%} between the "
        f"quartiles of their rounds: {told}. See what else runs on it, then measure again with --force."
    )


def list_latencies(session: Session) -> list[Measurement]:
    """The latencies of a session that have samples."""
    return [each for each in session.measurements if each.name == "latency" and any(each.samples)]


def _same_shape(session: Session, wanted: Measurement) -> Measurement | None:
    alike = (each for each in list_latencies(session) if each.conditions == wanted.conditions)
    return next(alike, None)


def _spread_of(measured: Measurement, reference: Measurement | None) -> float:
    own = round_medians(measured)
    series = [own]
    if reference is not None and reference is not measured:
        other = round_medians(reference)
        if len(other) == len(own):
            series.append([slow / fast for slow, fast in zip(other, own, strict=True) if fast])
    summaries = [summarize(values) for values in series if values]
    return max(relative_spread(each.median, each.low, each.high) for each in summaries)
