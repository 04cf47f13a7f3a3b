"""Masked language modelling against −log p of the true tokens."""

import numpy as np
import pytest
import torch

from compress.losses.masked_lm import masked_lm_loss

LABELS = np.array([[-100, 3, -100, 0], [-100, -100, 6, -100]])


def test_it_is_the_mean_over_masked_positions():
    """Guards a mean over all positions, and a mean of the sentences' means."""
    logits = np.random.default_rng(0).normal(size=(2, 4, 7)) * 3
    values = [
        np.log(np.exp(logits[b, t]).sum()) - logits[b, t, LABELS[b, t]]
        for b in range(2)
        for t in range(4)
        if LABELS[b, t] != -100
    ]
    actual = masked_lm_loss(torch.tensor(logits), torch.tensor(LABELS))
    assert actual.item() == pytest.approx(np.mean(values), abs=1e-12)


def test_it_is_what_transformers_models_return():
    logits, labels = torch.randn(2, 4, 7), torch.tensor(LABELS)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert masked_lm_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_gradient_is_that_of_finite_differences_and_0_elsewhere():
    logits = torch.randn(2, 4, 7, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(LABELS)
    assert torch.autograd.gradcheck(lambda z: masked_lm_loss(z, labels), logits)
    masked_lm_loss(logits, labels).backward()
    assert (logits.grad[labels == -100] == 0).all()


def test_nothing_masked_is_0_and_no_nan():
    """Guards the short text in which no token happened to be drawn: torch's own mean is NaN there."""
    logits = torch.randn(1, 3, 7, requires_grad=True)
    loss = masked_lm_loss(logits, torch.full((1, 3), -100))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_bfloat16_logits_are_widened():
    logits = (torch.randn(2, 4, 7) * 3).bfloat16()
    actual = masked_lm_loss(logits, torch.tensor(LABELS))
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(
        masked_lm_loss(logits.double(), torch.tensor(LABELS)).item(), rel=1e-6
    )
