"""What two runs of a store are beside each other: how many times as fast, and how many points better."""

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq

from compress.runs import StoredRun
from compress.statistics import Estimate, estimate_gain
from tests.benchmarks.sessions import summarize


def times_as_fast(run: StoredRun, reference: StoredRun, *, batch: int) -> dict[str, float]:
    """The ratio of median latencies within a session; the median over their common sessions and its spread."""
    ours, theirs = (dict(_latencies(each, batch)) for each in (run, reference))
    return summarize([theirs[session] / ours[session] for session in ours if session in theirs])


def _latencies(stored: StoredRun, batch: int) -> Iterator[tuple[str, float]]:
    for session in stored.sessions:
        for found in session.measurements:
            if found.name == "latency" and found.conditions["batch"] == batch:
                yield session.session, found.value


def points_gained(run: StoredRun, reference: StoredRun) -> Estimate:
    """The difference of the task's primary scores on its first split, paired by examples."""
    labels, ours = read_predictions(run)
    _, theirs = read_predictions(reference)
    return estimate_gain(run.evaluations[0].scores[0].name, labels, [ours], [theirs])


def read_predictions(stored: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels and predictions on the split that the run was scored on first."""
    table = pq.read_table(stored.path / "evaluations" / stored.evaluations[0].predictions)
    return table["label"].to_numpy(), table["prediction"].to_numpy()


def describe_points(found: Estimate) -> str:
    """Points and their interval, in hundredths."""
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def describe_times(found: dict[str, float]) -> str:
    """A ratio and its spread over sessions."""
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
