"""Each loss against a plain transcription of the paper's formula in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.losses.soft_targets import soft_cross_entropy, soft_regression
from compress.losses.task import task_loss

finite = st.floats(-8, 8, width=32)
logits = arrays(np.float32, (5, 3), elements=finite)
temperatures = st.sampled_from([0.5, 1.0, 2.0, 5.0])


def softmax(z, temperature):
    e = np.exp(z / temperature - (z / temperature).max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@given(logits, logits, temperatures)
def test_soft_cross_entropy_is_the_paper_s(student, teacher, temperature):
    """Hinton et al. 2015: T² · mean over examples of −Σ p log q."""
    p, q = softmax(teacher.astype(np.float64), temperature), softmax(student.astype(np.float64), temperature)
    expected = temperature**2 * np.mean(-np.sum(p * np.log(q), axis=1))
    actual = soft_cross_entropy(torch.tensor(student), torch.tensor(teacher), temperature=temperature)
    assert actual.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(logits, logits, temperatures)
def test_the_teacher_s_own_answer_is_the_minimum(student, teacher, temperature):
    student, teacher = torch.tensor(student), torch.tensor(teacher)
    least = soft_cross_entropy(teacher, teacher, temperature=temperature)
    assert soft_cross_entropy(student, teacher, temperature=temperature) >= least - 1e-4


def test_gradients_keep_their_size_when_the_temperature_grows():
    """Guards a forgotten T²: at T = 20 the gradient would be some 400 times smaller than at T = 1."""
    teacher = torch.tensor([[1.0, -1.0, 0.5]])
    norms = []
    for temperature in (1.0, 20.0):
        student = torch.zeros(1, 3, requires_grad=True)
        soft_cross_entropy(student, teacher, temperature=temperature).backward()
        norms.append(student.grad.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.5)


def test_gradient_at_high_temperature_matches_logits():
    """Hinton et al. 2015, equation 4: for zero-mean logits the gradient tends to (z − v) / C."""
    student = torch.tensor([[0.3, -0.1, -0.2]], requires_grad=True)
    teacher = torch.tensor([[-0.2, 0.5, -0.3]])
    soft_cross_entropy(student, teacher, temperature=500.0).backward()
    assert torch.allclose(student.grad, (student - teacher).detach() / 3, atol=1e-3)


def test_the_mean_is_over_examples_not_classes():
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    twice = soft_cross_entropy(student.repeat(2, 1), teacher.repeat(2, 1))
    assert twice.item() == pytest.approx(soft_cross_entropy(student, teacher).item(), rel=1e-5)


def test_regression_follows_the_teacher():
    assert soft_regression(
        torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]])
    ).item() == pytest.approx(2.5)


def test_task_loss_by_kind_of_label():
    """Guards an integer target that is taken for a number, and a `[B, 1]` that broadcasts against `[B]`."""
    scores = torch.tensor([[1.0], [3.0]])
    assert task_loss(scores, torch.tensor([1.0, 1.0])).item() == pytest.approx(2.0)
    two = torch.tensor([[2.0, 0.0]])
    assert task_loss(two, torch.tensor([0])).item() == pytest.approx(np.log(1 + np.exp(-2)), rel=1e-5)
