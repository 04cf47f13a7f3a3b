"""Scores and intervals: by hand where a hand suffices, by coverage where it takes a crowd."""

from math import comb

import numpy as np
import pytest
from scipy.stats import chi2, spearmanr

from compress.statistics import (
    METRICS,
    best_constant_score,
    estimate_gain,
    estimate_over_seeds,
    estimate_retention,
    estimate_score,
    mcnemar,
    summarize,
)

LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1])
GUESSES = np.array([0, 1, 0, 1, 1, 0, 1, 1])


def test_metrics_by_hand():
    assert METRICS["accuracy"](LABELS, GUESSES) == pytest.approx(6 / 8)
    assert METRICS["f1"](LABELS, GUESSES) == pytest.approx(
        2 * 0.8 * 0.8 / 1.6
    )  # precision and recall are 4/5
    assert METRICS["macro_f1"](LABELS, GUESSES) == pytest.approx((0.8 + 2 / 3) / 2)
    matthews = (4 * 2 - 1 * 1) / np.sqrt(5 * 5 * 3 * 3)
    assert METRICS["matthews_correlation"](LABELS, GUESSES) == pytest.approx(matthews)


def test_spearman_averages_ties_as_scipy_does():
    draw = np.random.default_rng(0)
    left, right = draw.integers(0, 4, 50).astype(float), draw.integers(0, 4, 50).astype(float)
    assert METRICS["spearman"](left, right) == pytest.approx(spearmanr(left, right).statistic)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_correlation_with_a_constant_is_no_skill(metric):
    assert METRICS[metric](np.arange(5.0), np.ones(5)) == 0.0


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Guards an interval that is too narrow: of 95 % intervals, about 95 % hold the true accuracy."""
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(120):
        right = draw.random(300) < 0.8
        estimate = estimate_score("accuracy", np.ones(300), right.astype(float))
        hits += estimate.low <= 0.8 <= estimate.high
    assert 105 <= hits <= 120


def test_interval_is_the_same_each_time_and_holds_the_value():
    first = estimate_score("accuracy", LABELS, GUESSES)
    assert first == estimate_score("accuracy", LABELS, GUESSES)
    assert first.low <= first.value <= first.high
    assert first.low < first.high


def test_paired_retention_is_narrower_than_unpaired():
    """Guards resampling the two models apart: what they have in common must cancel out."""
    draw = np.random.default_rng(2)
    labels = draw.integers(0, 2, 400)
    teacher = np.where(draw.random(400) < 0.8, labels, 1 - labels)
    student = np.where(draw.random(400) < 0.98, teacher, 1 - teacher)  # errs where the teacher errs
    paired = estimate_retention("accuracy", labels, [student], [teacher])
    alone = estimate_score("accuracy", labels, student)
    assert paired.high - paired.low < (alone.high - alone.low) / alone.value
    assert paired.value == pytest.approx((student == labels).mean() / (teacher == labels).mean())


def test_retention_of_oneself_is_one():
    estimate = estimate_retention("accuracy", LABELS, [GUESSES], [GUESSES])
    assert tuple(estimate) == (1.0, 1.0, 1.0)


def test_retention_of_a_useless_baseline_is_refused():
    with pytest.raises(ValueError, match="means nothing"):
        estimate_retention("accuracy", LABELS, [GUESSES], [1 - LABELS])


def test_a_share_of_what_a_constant_answer_has_is_refused():
    labels = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    positive, one_zero = np.ones(10), np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    for baseline in (positive, 1 - labels, np.zeros(10)):
        with pytest.raises(ValueError, match=r"a constant answer has 0\.600"):
            estimate_retention("accuracy", labels, [positive], [baseline])
    assert estimate_retention("accuracy", labels, [positive], [one_zero]).value == pytest.approx(6 / 7)


def test_best_constant():
    assert best_constant_score("accuracy", LABELS) == pytest.approx(5 / 8)
    assert best_constant_score("f1", LABELS) == pytest.approx(10 / 13)
    assert best_constant_score("matthews_correlation", LABELS) == 0.0


@pytest.mark.parametrize("guesses", [np.array([]), np.array([1])])
def test_lengths_must_agree(guesses):
    with pytest.raises(ValueError, match="references"):
        estimate_score("accuracy", LABELS, guesses)


def test_summary():
    assert summarize([1, 2, 3, 4, 5]) == (3.0, pytest.approx(4.8), 2.0, 4.0)


def test_the_mean_over_seeds_is_their_mean_and_its_interval_holds_both_kinds_of_chance():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    right = [generator.random(400) < rate for rate in (0.7, 0.8, 0.9)]
    students = [np.where(hit, labels, 1 - labels) for hit in right]
    alone = estimate_score("accuracy", labels, students[1])
    together = estimate_over_seeds("accuracy", labels, students)
    assert together.value == pytest.approx(np.mean([hit.mean() for hit in right]))
    # Seeds that differ widely widen the interval beyond that of examples alone …
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    # … and seeds that agree leave exactly that.
    same = estimate_over_seeds("accuracy", labels, [students[1]] * 3)
    assert (same.value, same.low, same.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_a_gain_is_paired_by_examples_and_draws_the_seeds_of_either_side():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    hits = [generator.random(400) < rate for rate in (0.7, 0.8, 0.9)]
    better = [np.where(hit, labels, 1 - labels) for hit in hits]
    worse = [np.where(hit & (np.arange(400) % 10 > 0), labels, 1 - labels) for hit in hits]
    gain = estimate_gain("accuracy", labels, better, worse)
    assert gain.value == pytest.approx(np.mean([hit[::10].sum() / 400 for hit in hits]))
    # Of one seed a side, what is hard for both cancels out; seeds are no pairs, so that their spread stays.
    paired = estimate_gain("accuracy", labels, better[1:2], worse[1:2])
    alone = estimate_score("accuracy", labels, better[1])
    assert paired.low > 0
    assert paired.high - paired.low < 0.8 * (alone.high - alone.low)
    assert gain.high - gain.low > 2 * (paired.high - paired.low)
    none = estimate_gain("accuracy", labels, better[:1], better[:1])
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="without a seed"):
        estimate_gain("accuracy", labels, better[:1], [])


def test_the_share_kept_over_seeds_is_paired():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    teacher = np.where(generator.random(200) < 0.8, labels, 1 - labels)
    kept = estimate_retention("accuracy", labels, [teacher, teacher], [teacher])
    assert (kept.value, kept.low, kept.high) == (1.0, 1.0, 1.0)


def test_the_share_kept_is_of_the_mean_of_the_baseline_s_seeds():
    labels = np.tile([0.0, 1.0], 100)
    wrong = {count: np.where(np.arange(200) < count, 1 - labels, labels) for count in (20, 30, 40, 60)}
    baselines = [wrong[20], wrong[60]]
    kept = estimate_retention("accuracy", labels, [wrong[30]], baselines)
    assert kept.value == pytest.approx(0.85 / 0.8)
    lucky = estimate_retention("accuracy", labels, [wrong[30]], baselines[:1])
    assert lucky.value == pytest.approx(0.85 / 0.9)
    assert kept.high - kept.low > 2 * (lucky.high - lucky.low)  # who knows which seeds the next one is like


def discordant(both, only_ours, only_theirs, neither):
    """References and two models' predictions that give such a table."""
    counts = [both, only_ours, only_theirs, neither]
    ours, theirs = np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)
    return np.ones(sum(counts)), ours, theirs


@pytest.mark.parametrize(
    ("table", "p_value"),
    [
        (
            (1, 1, 7, 12),
            0.070,
        ),  # airway hyper-responsiveness before and after, Fagerland et al. 2013, table 1
        ((59, 6, 16, 80), 0.052),  # complications of either treatment, the same, table 2
        ((0, 5, 0, 0), 2 / 32),
        ((9, 4, 4, 2), 1.0),
        ((9, 0, 0, 2), 1.0),
    ],
)
def test_mcnemar_s_exact_test_gives_the_published_values(table, p_value):
    found = mcnemar(*discordant(*table))
    assert tuple(found[:4]) == table
    assert found.test == "exact"
    assert found.p_value == pytest.approx(p_value, abs=5e-4)


def test_mcnemar_s_mid_p_counts_the_observed_table_half():
    """Against whole numbers, and on Agresti's approval ratings (1990, p. 350) against his z² of 17.36."""
    found = mcnemar(*discordant(794, 150, 86, 570))
    below, at = sum(comb(236, k) for k in range(86)), comb(236, 86)
    assert found.test == "mid-p"
    assert found.p_value == pytest.approx((2 * below + at) / 2**236, rel=1e-9)
    assert found.p_value == pytest.approx(chi2.sf(17.36, 1), rel=0.1)
    assert mcnemar(*discordant(0, 40, 40, 0)).p_value == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_mcnemar_rejects_equal_models_no_more_often_than_it_says(share):
    """Guards a test that finds differences where there are none; few discordant examples, and many."""
    draw, rejected = np.random.default_rng(4), 0
    for _ in range(400):
        wrong = draw.random((2, 200)) < share / 2
        rejected += mcnemar(np.ones(200), ~wrong[0], ~wrong[1]).p_value < 0.05
    assert rejected <= 400 * 0.05 + 2.6 * np.sqrt(400 * 0.05 * 0.95)
    assert share < 0.1 or rejected >= 5  # … nor so seldom that it says nothing


def test_mcnemar_finds_what_is_there_whichever_is_named_first():
    labels, ours, theirs = discordant(300, 60, 20, 20)
    found, turned = mcnemar(labels, ours, theirs), mcnemar(labels, theirs, ours)
    assert found.p_value == turned.p_value < 0.001
    assert (found.only_ours, found.only_theirs) == (turned.only_theirs, turned.only_ours) == (60, 20)
