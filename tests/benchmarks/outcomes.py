"""What two runs of a store are beside each other: how many times as fast, and how many points better."""

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from compress.reporting.data import read_run_data
from compress.reporting.schema import Interval
from compress.reporting.timings import compare_timings
from compress.runs import StoredRun
from compress.statistics import Estimate, estimate_gain


def times_as_fast(
    runs: Sequence[StoredRun], reference: StoredRun, *, batch: int
) -> dict[str, Interval | None]:
    """Run's id → how many times as fast as the reference, as the report of these runs tells it.

    Args:
        runs: That were measured together, the reference one of them.
        reference: What the others are compared with; it has 1, and what no session has beside it None.
        batch: Texts a batch.
    """
    columns = compare_timings([read_run_data(stored) for stored in runs], reference.run.id)
    column = next((each for each in columns if each.condition.batch == batch), None)
    found = {each.run: each.speedup for each in column.timings} if column else {}
    whole = {reference.run.id: Interval(value=1, low=1, high=1)} if column else {}
    return {stored.run.id: found.get(stored.run.id) for stored in runs} | whole


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


def describe_times(found: Interval | None) -> str:
    """A ratio and its spread over sessions, or over the rounds of a single one."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})" if found else ""
