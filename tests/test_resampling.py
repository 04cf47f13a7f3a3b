"""Many resamples at once: the same scores, on the same draws, as one by one."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import resampling
from compress.resampling import score_resamples
from compress.statistics import METRICS, estimate_retention, estimate_score

CLASSES = ("accuracy", "f1", "macro_f1", "matthews_correlation")
CORRELATIONS = ("pearson", "spearman")
RESAMPLES = 12
FEWER = 150
"""Resamples of an interval: the first draws of a thousand are those of fewer."""
SEED = 3


def one_by_one(metric, references, predictions):
    """The plain way: one draw of all rows, then scikit-learn or SciPy for each resample."""
    count = len(references)
    rows = np.random.default_rng(SEED).integers(0, count, size=(RESAMPLES, count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's on a single class, SciPy's on nearly constant values
        return np.array([METRICS[metric](references[row], predictions[row]) for row in rows])


def at_once(metric, references, *predictions):
    return score_resamples(metric, references, predictions, resamples=RESAMPLES, seed=SEED)


def pairs_of(values, *, largest=30):
    row = st.tuples(values, values)
    return st.lists(row, min_size=1, max_size=largest).map(lambda rows: np.array(rows).T)


@pytest.mark.parametrize("metric", CLASSES)
@settings(max_examples=40, deadline=None)
@given(pair=st.one_of(pairs_of(st.integers(0, 1)), pairs_of(st.just(0)), pairs_of(st.just(1))))
def test_two_classes_are_scored_as_scikit_learn_scores_them(metric, pair):
    """Few examples, so that many resamples hold one class only, or one answer only."""
    assert at_once(metric, *pair)[0] == pytest.approx(one_by_one(metric, *pair), abs=1e-12)


@pytest.mark.parametrize("metric", [name for name in CLASSES if name != "f1"])
@settings(max_examples=40, deadline=None)
@given(pair=pairs_of(st.integers(0, 4)))
def test_several_classes_are_scored_as_scikit_learn_scores_them(metric, pair):
    assert at_once(metric, *pair)[0] == pytest.approx(one_by_one(metric, *pair), abs=1e-12)


@pytest.mark.parametrize("metric", CORRELATIONS)
@settings(max_examples=60, deadline=None)
@given(pair=st.one_of(pairs_of(st.sampled_from([0.0, 0.2, 1.0, 2.5, 5.0])), pairs_of(st.just(0.1))))
def test_correlations_with_ties_and_constants_are_scipy_s(metric, pair):
    assert at_once(metric, *pair)[0] == pytest.approx(one_by_one(metric, *pair), abs=1e-12)


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlations_far_from_zero_lose_no_digits(metric):
    """Guards sums of squares: of values that are large beside their spread they keep no digits."""
    draw = np.random.default_rng(0)
    references = 1e4 + draw.normal(size=200)
    predictions = references + draw.normal(size=200)
    assert at_once(metric, references, predictions)[0] == pytest.approx(
        one_by_one(metric, references, predictions), abs=1e-12
    )


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_a_missing_answer_spoils_its_resamples_and_no_others(metric):
    references, predictions = np.arange(6.0), np.array([1.0, 0.0, 2.0, np.nan, 3.0, 5.0])
    expected = one_by_one(metric, references, predictions)
    assert 0 < np.isnan(expected).sum() < RESAMPLES
    assert at_once(metric, references, predictions)[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", [*CLASSES, *CORRELATIONS])
@pytest.mark.parametrize("cells", [1, 100, 250, 10**6])
def test_chunks_are_one_draw(metric, cells, monkeypatch):
    """Guards intervals that depend on how much memory a chunk may take."""
    draw = np.random.default_rng(1)
    references, predictions = draw.integers(0, 2, 50), draw.integers(0, 2, 50)
    monkeypatch.setattr(resampling, "CELLS", cells)
    assert at_once(metric, references, predictions)[0] == pytest.approx(
        one_by_one(metric, references, predictions), abs=1e-12
    )


def test_models_are_scored_on_the_same_draws():
    draw = np.random.default_rng(2)
    references, first, second = draw.integers(0, 3, size=(3, 60))
    both = at_once("macro_f1", references, first, second)
    assert both.shape == (2, RESAMPLES)
    assert (both[0] == at_once("macro_f1", references, first)[0]).all()
    assert (both[1] == at_once("macro_f1", references, second)[0]).all()


@pytest.mark.parametrize("metric", [*CLASSES, *CORRELATIONS])
def test_intervals_are_what_they_were(metric, monkeypatch):
    """Guards recorded intervals: scored in chunks or one by one, they are those of the same draws."""
    monkeypatch.setattr("compress.statistics.RESAMPLES", FEWER)
    draw = np.random.default_rng(4)
    labels = draw.integers(0, 2, 120)
    teacher = np.where(draw.random(120) < 0.9, labels, 1 - labels)
    student = np.where(draw.random(120) < 0.8, labels, 1 - labels)
    rows = np.random.default_rng(0).integers(0, 120, size=(FEWER, 120))
    score = METRICS[metric]
    own = np.array([score(labels[row], student[row]) for row in rows])
    share = own / np.array([score(labels[row], teacher[row]) for row in rows])
    for estimate, draws in (
        (estimate_score(metric, labels, student), own),
        (estimate_retention(metric, labels, [student], [teacher]), share),
    ):
        assert estimate[1:] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-12)


def test_a_model_is_scored_once_however_often_it_is_compared(monkeypatch):
    prepared = []
    prepare = resampling.PREPARE["accuracy"]

    def count(references, predictions):
        prepared.append(predictions)
        return prepare(references, predictions)

    monkeypatch.setattr(resampling, "PREPARE", {"accuracy": count})
    resampling._score.cache_clear()
    references = np.arange(30) % 2
    baseline, *others = (np.roll(references, places) * (np.arange(30) > places) for places in range(4))
    alone = score_resamples("accuracy", references, [baseline], resamples=9, seed=1)
    for other in others:
        both = score_resamples("accuracy", references, [other, baseline.copy()], resamples=9, seed=1)
        assert np.array_equal(both[1], alone[0])
    assert len(prepared) == 4
    both *= 0  # what was given out is its own
    assert np.array_equal(score_resamples("accuracy", references, [baseline], resamples=9, seed=1), alone)
    for changed in ({"seed": 2}, {"resamples": 8}):
        score_resamples("accuracy", references, [baseline], **{"resamples": 9, "seed": 1, **changed})
    score_resamples("accuracy", 1 - references, [baseline], resamples=9, seed=1)
    score_resamples("accuracy", references.astype(float), [baseline], resamples=9, seed=1)
    assert len(prepared) == 8
