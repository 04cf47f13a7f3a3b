"""Scores of many resamples at once: counts of pairs of labels, correlations of whole matrices.

Scoring a thousand resamples one by one through scikit-learn takes minutes on forty thousand examples. Here the examples
of a split are prepared once, and each chunk of resamples is scored in a few array operations. The results are
those of the metrics one by one (`compress.statistics.METRICS`), to the last digits of a float.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS = 2**16
"""At most so many numbers of an array are held at a time, unless one resample alone has more.

It is what the processor's nearest caches hold, which makes it faster as well.
"""
REMEMBERED = 256
"""Of so many models the scores are kept: more than most reports have of a task."""

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Scorer = Callable[[Rows], Array]
"""Rows of a chunk of resamples `[R, N]` → their scores `[R]`."""
Prepare = Callable[[Array, Array], Scorer]
"""References `[N]` and predictions `[N]` → what scores their resamples."""


def score_resamples(
    metric: str, references: Array, predictions: Sequence[Array], *, resamples: int, seed: int
) -> Array:
    """Score several models' predictions on the same resampled examples.

    Args:
        metric: A name from `PREPARE`.
        references: Gold labels or targets, `[N]`.
        predictions: One array `[N]` a model.
        resamples: How many.
        seed: Of the draws; those of one seed are the same whatever the metric.

    Returns:
        Scores, `[models, resamples]`.
    """
    return np.array([_score(_Answers(metric, references, each, resamples, seed)) for each in predictions])


@dataclass(frozen=True, eq=False)
class _Answers:
    """One model's answers and how they are resampled: the same numbers are equal, whatever arrays hold them."""

    metric: str
    references: Array
    predictions: Array
    resamples: int
    seed: int

    @cached_property
    def _told(self) -> tuple[object, ...]:
        arrays = [
            (each.dtype.str, sha256(np.ascontiguousarray(each).tobytes()).digest())
            for each in map(np.asarray, (self.references, self.predictions))
        ]
        return (self.metric, self.resamples, self.seed, *arrays)

    def __hash__(self) -> int:
        return hash(self._told)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Answers) and self._told == other._told


@lru_cache(maxsize=REMEMBERED)
def _score(asked: _Answers) -> Array:
    """The scores of its resamples, `[R]`: a baseline's are asked for with each model that is compared with it."""
    score = PREPARE[asked.metric](asked.references, asked.predictions)
    chunks = _draw_chunks(len(asked.references), resamples=asked.resamples, seed=asked.seed)
    return np.concatenate([score(rows) for rows in chunks])


def _draw_chunks(count: int, *, resamples: int, seed: int) -> Iterator[Rows]:
    """Row numbers `[R, N]`, a chunk at a time; all chunks together are one draw of `[resamples, N]`."""
    generator = np.random.default_rng(seed)
    size = max(1, CELLS // count)
    for start in range(0, resamples, size):
        yield generator.integers(0, count, size=(min(size, resamples - start), count))


class Counts(NamedTuple):
    """How often each class is right, is the reference and is predicted, in each resample: `[R, K]` each."""

    hits: Array
    references: Array
    predictions: Array


def _from_counts(score: Callable[[Counts, Array], Array]) -> Prepare:
    """A metric of `Counts` and of the classes they are about, `[K]`.

    Examples with the same reference and prediction count alike; so a resample is first reduced to how often it
    holds each pair that occurs.
    """

    def prepare(references: Array, predictions: Array) -> Scorer:
        classes, labels = np.unique(np.concatenate([references, predictions]), return_inverse=True)
        width = len(classes)
        known, answered = labels[: len(references)], labels[len(references) :]
        pairs, pair_of = np.unique(known * width + answered, return_inverse=True)
        of_reference = np.equal.outer(pairs // width, np.arange(width)).astype(np.float64)
        of_prediction = np.equal.outer(pairs % width, np.arange(width)).astype(np.float64)

        def score_rows(rows: Rows) -> Array:
            counts = _count_codes(pair_of[rows], len(pairs))
            hits = counts @ (of_reference * of_prediction)
            return score(Counts(hits, counts @ of_reference, counts @ of_prediction), classes)

        return score_rows

    return prepare


def _count_codes(codes: NDArray[np.intp], width: int) -> Array:
    """How often each of `width` codes occurs in each row of `[R, N]`: `[R, width]`."""
    resamples = len(codes)
    codes = codes + np.arange(resamples)[:, None] * width
    counted = np.bincount(codes.ravel(), minlength=resamples * width)
    return counted.reshape(resamples, width).astype(np.float64)


def _divide(above: Array, below: Array) -> Array:
    """A quotient, 0 where it is 0 / 0."""
    return np.divide(above, below, out=np.zeros_like(below), where=below != 0)


def _accuracy(counts: Counts, _: Array) -> Array:
    return _divide(counts.hits.sum(axis=1), counts.references.sum(axis=1))


def _f1_by_class(counts: Counts) -> Array:
    return _divide(2 * counts.hits, counts.references + counts.predictions)


def _f1(counts: Counts, classes: Array) -> Array:
    scores: Array = _f1_by_class(counts)[:, classes == 1].sum(axis=1)  # 0 where class 1 occurs nowhere
    return scores


def _macro_f1(counts: Counts, _: Array) -> Array:
    present = (counts.references + counts.predictions > 0).sum(axis=1).astype(np.float64)
    return _divide(_f1_by_class(counts).sum(axis=1), present)


def _matthews(counts: Counts, _: Array) -> Array:
    n = counts.references.sum(axis=1)
    together = counts.hits.sum(axis=1) * n - (counts.references * counts.predictions).sum(axis=1)
    spread = (n**2 - (counts.references**2).sum(axis=1)) * (n**2 - (counts.predictions**2).sum(axis=1))
    return _divide(together, np.sqrt(spread))


def _prepare_pearson(references: Array, predictions: Array) -> Scorer:
    return lambda rows: _correlate(references[rows], predictions[rows])


def _correlate(left: Array, right: Array) -> Array:
    """Pearson's correlation of each row of `[R, N]`, 0 where one of the two is constant."""
    constant = (np.ptp(left, axis=1) == 0) | (np.ptp(right, axis=1) == 0)
    left, right = _normalize(left), _normalize(right)
    return np.where(constant, 0.0, np.clip((left * right).sum(axis=1), -1.0, 1.0))


def _normalize(values: Array) -> Array:
    """Each row with mean 0 and length 1."""
    centred = values - values.mean(axis=1, keepdims=True)
    lengths: Array = np.linalg.norm(centred, axis=1, keepdims=True)
    return _divide(centred, np.broadcast_to(lengths, centred.shape))


def _prepare_spearman(references: Array, predictions: Array) -> Scorer:
    left, right = _prepare_ranks(references), _prepare_ranks(predictions)
    return lambda rows: _correlate(left(rows), right(rows))


def _prepare_ranks(values: Array) -> Scorer:
    """Rows `[R, N]` → the ranks `[R, N]` of their values within each row; equals share their mean rank.

    Values are sorted once. In a resample, the ranks of a value that occurs `c` times after `b` lower ones are
    b + 1 to b + c.
    """
    distinct, code_of = np.unique(values, return_inverse=True)
    missing = np.isnan(values)

    def rank(rows: Rows) -> Array:
        codes = code_of[rows]
        counts = _count_codes(codes, len(distinct))
        ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
        ranked: Array = np.take_along_axis(ranks, codes, axis=1)
        if missing.any():  # a NaN has no rank, nor have the others beside it
            ranked[missing[rows].any(axis=1)] = np.nan
        return ranked

    return rank


PREPARE: Mapping[str, Prepare] = {
    "accuracy": _from_counts(_accuracy),
    "f1": _from_counts(_f1),
    "macro_f1": _from_counts(_macro_f1),
    "matthews_correlation": _from_counts(_matthews),
    "pearson": _prepare_pearson,
    "spearman": _prepare_spearman,
}
"""Name → the metric of that name, for resamples."""
