"""Expected calibration error: by hand, against a transcription of the paper, and on a model that knows itself."""

import numpy as np
import pytest

from compress.calibration import BINS, expected_calibration_error


def logits_of(confidences, classes):
    """Two classes, the given one with the given probability."""
    logits = np.zeros((len(classes), 2))
    logits[np.arange(len(classes)), classes] = np.log(confidences) - np.log1p(-np.asarray(confidences))
    return logits


def test_by_hand():
    """Four answers that are 90 % sure, two of them right; four that are 60 % sure, three right."""
    logits = logits_of([0.9] * 4 + [0.6] * 4, [1] * 8)
    references = np.array([1, 1, 0, 0, 1, 1, 1, 0])
    assert expected_calibration_error(references, logits) == pytest.approx(0.5 * 0.4 + 0.5 * 0.15)


def test_it_is_the_paper_s_sum_over_bins():
    draw = np.random.default_rng(0)
    logits, references = draw.normal(size=(500, 3)) * 2, draw.integers(0, 3, 500)
    confidence = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).max(axis=1)
    right = logits.argmax(axis=1) == references
    total = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(references, logits) == pytest.approx(total)


def test_a_model_that_is_as_often_right_as_it_is_sure_has_hardly_any():
    draw = np.random.default_rng(1)
    confidence = draw.uniform(0.5, 0.999, 100_000)
    references = (draw.random(100_000) < confidence).astype(int)
    logits = logits_of(confidence, np.ones(100_000, dtype=int))
    assert expected_calibration_error(references, logits) < 0.01
    assert expected_calibration_error(references, 5 * logits) > 0.1  # … and one that is too sure has much
    assert np.isfinite(expected_calibration_error(references, 1e4 * logits))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 references"):
        expected_calibration_error(np.zeros(2), np.zeros((3, 2)))
