"""Whether a classifier is as often right as it is sure."""

import numpy as np
from numpy.typing import NDArray

BINS = 15

Array = NDArray[np.float64]


def expected_calibration_error(references: Array, logits: Array) -> float:
    """The mean distance between confidence and accuracy, over bins of like confidence.

    Σ |B| / N · |acc(B) − conf(B)| over 15 bins of equal width, a confidence on an edge in the lower one (Guo et al. 2017,
    "On Calibration of Modern Neural Networks", equation 3). It has no interval here: even of a perfectly calibrated model
    it is positive on few examples, and a bootstrap would add to that bias.

    Args:
        references: Class indices, `[N]`.
        logits: `[N, C]`; the confidence is the largest of their softmax.

    Raises:
        ValueError: There are no examples, or not as many logits as references.
    """
    if len(references) == 0 or len(references) != len(logits):
        raise ValueError(f"{len(references)} references and {len(logits)} rows of logits")
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1 / weights.sum(axis=1)  # the largest of the weights is 1
    right = logits.argmax(axis=1) == references
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(references))
