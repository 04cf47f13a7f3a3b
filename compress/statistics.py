"""Scores, intervals and summaries of samples; NumPy in, plain floats out, no torch.

Metrics are scikit-learn's and SciPy's; for the resamples of an interval `compress.resampling` computes the same ones
many at a time. Intervals are percentile bootstrap intervals over examples (Efron & Tibshirani 1993, chapter 13), drawn
with a fixed seed, so that the same predictions always give the same interval.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from compress.resampling import score_resamples

RESAMPLES = 1000
CONFIDENCE = 0.95
FEW_DISCORDANT = 25
"""Of fewer examples that one model alone gets right, McNemar's test is the exact one."""

Array = NDArray[np.float64]
Metric = Callable[[Array, Array], float]


class Estimate(NamedTuple):
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class McNemar(NamedTuple):
    """How often each of two models is right where the other is not, and how likely chance alone does that.

    Attributes:
        both: Examples that both answer rightly.
        only_ours: Examples that the first alone answers rightly.
        only_theirs: Examples that the second alone answers rightly.
        neither: Examples that both answer wrongly.
        p_value: Two-sided.
        test: Which of the two it comes from.
    """

    both: int
    only_ours: int
    only_theirs: int
    neither: int
    p_value: float
    test: Literal["exact", "mid-p"]


class Summary(NamedTuple):
    """Median, 95th percentile and the quartiles of a sample of timings (same unit as the sample)."""

    median: float
    p95: float
    low: float
    high: float


def _accuracy(references: Array, predictions: Array) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(references, predictions))


def _f1(references: Array, predictions: Array) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, zero_division=0.0))


def _macro_f1(references: Array, predictions: Array) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, average="macro", zero_division=0.0))


def _matthews(references: Array, predictions: Array) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(references, predictions))


def _pearson(references: Array, predictions: Array) -> float:
    if np.ptp(references) == 0 or np.ptp(predictions) == 0:
        return 0.0  # the correlation with a constant is undefined; no skill is what it means here
    from scipy.stats import pearsonr

    return float(pearsonr(references, predictions).statistic)


def _spearman(references: Array, predictions: Array) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(references), rankdata(predictions))


METRICS: Mapping[str, Metric] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}
"""Name → metric(references [N], predictions [N]); higher is better for every one of them.

`f1` is that of class 1, as GLUE scores MRPC and QQP; `macro_f1` the mean over the classes.
"""


def percentile_interval(draws: Array) -> tuple[float, float]:
    """The bounds that 95 % of a statistic's resamples lie between."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def estimate_score(metric: str, references: Array, predictions: Array, *, seed: int = 0) -> Estimate:
    """Score predictions with a bootstrap interval over examples.

    Args:
        metric: A name from `METRICS`.
        references: Gold labels (class indices or targets), `[N]`.
        predictions: Predicted labels or values, `[N]`.
        seed: Of the resampling.

    Raises:
        ValueError: The two arrays differ in length or are empty.
    """
    _check_lengths(references, predictions)
    value = METRICS[metric](references, predictions)
    (draws,) = score_resamples(metric, references, [predictions], resamples=RESAMPLES, seed=seed)
    return Estimate(value, *percentile_interval(draws))


def estimate_retention(
    metric: str, references: Array, students: Sequence[Array], baselines: Sequence[Array], *, seed: int = 0
) -> Estimate:
    """Share of a baseline's mean score that a student's mean keeps, with a paired bootstrap interval.

    Each resample draws the examples anew, the same for all, so that what makes one hard for both cancels out; and of either
    side the seeds, where there are several.

    Args:
        metric: A name from `METRICS`.
        references: Gold labels, `[N]`.
        students: The predictions of each of the student's seeds, `[N]`, in the order of `references`.
        baselines: Those of the baseline's.
        seed: Of the resampling.

    Raises:
        ValueError: The arrays differ in length or are empty, or the baseline is no better than the best constant answer.
    """
    whole, nothing = mean_score(metric, references, baselines), best_constant_score(metric, references)
    if whole <= nothing:
        raise ValueError(
            f"a share of a {metric} of {whole:.3f} means nothing: a constant answer has {nothing:.3f}"
        )
    value = mean_score(metric, references, students) / whole
    kept, possible = draw_means(metric, references, [students, baselines], seed=seed)
    useful = possible > 0
    return Estimate(value, *percentile_interval(kept[useful] / possible[useful]))


def estimate_over_seeds(
    metric: str, references: Array, students: Sequence[Array], *, seed: int = 0
) -> Estimate:
    """The mean score of one model trained from several seeds, with an interval over seeds and examples at once.

    Each resample draws the seeds anew, with replacement, and the examples anew, the same for all: a two-level
    bootstrap. With three seeds it knows little of how seeds differ; the interval is what can be said.

    Args:
        metric: A name from `METRICS`.
        references: Gold labels, `[N]`.
        students: The predictions of each seed, `[N]`, in the order of `references`.
        seed: Of the resampling.

    Raises:
        ValueError: The arrays differ in length or are empty.
    """
    value = mean_score(metric, references, students)
    (means,) = draw_means(metric, references, [students], seed=seed)
    return Estimate(value, *percentile_interval(means))


def estimate_gain(
    metric: str, references: Array, ours: Sequence[Array], theirs: Sequence[Array], *, seed: int = 0
) -> Estimate:
    """How much higher one model scores than another on average, each trained from several seeds; paired by examples.

    Each resample draws the seeds of either side anew, apart from each other, and the examples anew, the same for all:
    what makes an example hard for both cancels out.

    Args:
        metric: A name from `METRICS`.
        references: Gold labels, `[N]`.
        ours: The predictions of each seed, `[N]`, in the order of `references`.
        theirs: The other model's.
        seed: Of the resampling.

    Raises:
        ValueError: The arrays differ in length or are empty, or a side has no seed.
    """
    value = mean_score(metric, references, ours) - mean_score(metric, references, theirs)
    better, worse = draw_means(metric, references, [ours, theirs], seed=seed)
    return Estimate(value, *percentile_interval(better - worse))


def mean_score(metric: str, references: Array, seeds: Sequence[Array]) -> float:
    """The mean over the seeds of a model, each of which has predictions `[N]`.

    Raises:
        ValueError: There is no seed, or arrays differ in length or are empty.
    """
    if not seeds:
        raise ValueError("a model without a seed")
    for predictions in seeds:
        _check_lengths(references, predictions)
    return float(np.mean([METRICS[metric](references, predictions) for predictions in seeds]))


def draw_means(
    metric: str, references: Array, models: Sequence[Sequence[Array]], *, seed: int
) -> list[Array]:
    """Resamples of each model's mean score over its seeds, `[R]`: a two-level bootstrap.

    Each draws the examples anew, the same for all models, and the seeds of each model anew, apart from those of the others.

    Args:
        metric: A name from `METRICS`.
        references: Gold labels, `[N]`.
        models: For each of them the predictions of its seeds, `[N]`.
        seed: Of the resampling.
    """
    every = [predictions for seeds in models for predictions in seeds]
    draws = np.asarray(score_resamples(metric, references, every, resamples=RESAMPLES, seed=seed))
    generator = np.random.default_rng(seed)
    sides = np.split(draws, np.cumsum([len(seeds) for seeds in models])[:-1])
    return [_mean_of_drawn_seeds(side, generator) for side in sides]


def _mean_of_drawn_seeds(draws: Array, generator: np.random.Generator) -> Array:
    """The mean of as many seeds as there are, drawn anew with replacement in each resample: `[seeds, R]` → `[R]`."""
    picks = generator.integers(len(draws), size=draws.shape)
    means: Array = np.take_along_axis(draws, picks, axis=0).mean(axis=0)
    return means


def mcnemar(references: Array, ours: Array, theirs: Array) -> McNemar:
    """Whether two models are right on different shares of the same examples (McNemar 1947).

    Under the null each discordant example is either model's with probability ½. With few of them the p-value is that
    of the exact binomial test; with more, the mid-p value, which is less conservative and hardly ever exceeds the
    nominal level (Fagerland, Lydersen & Laake 2013, "The McNemar test for binary matched-pairs data").

    Args:
        references: Gold labels, `[N]`.
        ours: One model's predictions, `[N]`, in the order of `references`.
        theirs: The other's.

    Raises:
        ValueError: The arrays differ in length or are empty.
    """
    from scipy.stats import binom

    _check_lengths(references, ours)
    _check_lengths(references, theirs)
    right, other = np.equal(references, ours), np.equal(references, theirs)
    only_ours, only_theirs = int((right & ~other).sum()), int((~right & other).sum())
    discordant, fewer = only_ours + only_theirs, min(only_ours, only_theirs)
    exact = discordant < FEW_DISCORDANT
    p_value = 2 * binom.cdf(fewer, discordant, 0.5)
    if not exact:
        p_value -= binom.pmf(fewer, discordant, 0.5)
    return McNemar(
        both=int((right & other).sum()),
        only_ours=only_ours,
        only_theirs=only_theirs,
        neither=int((~right & ~other).sum()),
        p_value=min(1.0, float(p_value)),
        test="exact" if exact else "mid-p",
    )


def best_constant_score(metric: str, references: Array) -> float:
    """The best score that a prediction which never looks at the text can reach on these labels.

    Args:
        metric: A name from `METRICS`.
        references: Gold labels, `[N]`; for the correlations any constant scores 0.
    """
    if metric in {"pearson", "spearman", "matthews_correlation"}:
        return 0.0
    score = METRICS[metric]
    return max(score(references, np.full_like(references, label)) for label in np.unique(references))


def summarize(samples: Sequence[float] | Array) -> Summary:
    """Median, 95th percentile and quartiles of a non-empty sample."""
    low, median, high, p95 = np.quantile(np.asarray(samples, dtype=np.float64), [0.25, 0.5, 0.75, 0.95])
    return Summary(float(median), float(p95), float(low), float(high))


def _check_lengths(references: Array, predictions: Array) -> None:
    if len(references) == 0 or len(references) != len(predictions):
        raise ValueError(f"{len(references)} references and {len(predictions)} predictions")
