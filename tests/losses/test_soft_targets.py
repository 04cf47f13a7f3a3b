"""Each loss against a plain transcription of the paper's formula in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.errors import InvalidInputError
from compress.losses.soft_targets import (
    cross_entropy_to,
    mix_teachers,
    soft_cross_entropy,
    soft_divergence,
    soft_regression,
)
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


@given(logits, logits, temperatures)
def test_soft_divergence_is_t_squared_kl_over_tokens(student, teacher, temperature):
    """DistilBERT's batchmean: guards T in T²'s place, the two exchanged, and a mean over classes."""
    p, q = softmax(teacher.astype(np.float64), temperature), softmax(student.astype(np.float64), temperature)
    expected = temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=1))
    actual = soft_divergence(
        torch.tensor(student, dtype=torch.float64), torch.tensor(teacher).double(), temperature=temperature
    )
    assert actual.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_tokens_that_do_not_count():
    """Logits of masked language models, `[B, L, V]`: the mean is over the counted tokens of the whole batch."""
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    rows = mask.bool()
    for loss in (soft_divergence, soft_cross_entropy):
        expected = loss(student[rows], teacher[rows], temperature=2.0).item()
        assert loss(student, teacher, temperature=2.0, mask=mask).item() == pytest.approx(expected, rel=1e-6)
        assert loss(student, teacher, temperature=2.0).item() != pytest.approx(expected, rel=1e-3)


@given(logits, logits, temperatures)
def test_divergence_and_cross_entropy_have_one_gradient(student, teacher, temperature):
    gradients = []
    for loss in (soft_divergence, soft_cross_entropy):
        variable = torch.tensor(student, dtype=torch.float64, requires_grad=True)
        loss(variable, torch.tensor(teacher).double(), temperature=temperature).backward()
        gradients.append(variable.grad)
    assert torch.allclose(*gradients, atol=1e-9)


@given(logits, logits, temperatures, st.floats(0.1, 10))
def test_one_teacher_is_soft_cross_entropy_to_the_bit(student, teacher, temperature, weight):
    student, teacher = torch.tensor(student), torch.tensor(teacher)
    mixed = mix_teachers([teacher], [weight], temperature=temperature)
    alone = soft_cross_entropy(student, teacher, temperature=temperature)
    assert cross_entropy_to(student, mixed, temperature=temperature).item() == alone.item()


@given(arrays(np.float64, (3, 5, 4), elements=finite), temperatures)
def test_teachers_are_mixed_as_distributions(teachers, temperature):
    """Guards a mean of logits, weights that are not normalized, and a mean over examples."""
    weights = (2.0, 0.0, 6.0)
    expected = sum(w / 8 * softmax(z, temperature) for w, z in zip(weights, teachers, strict=True))
    stacked = mix_teachers(torch.tensor(teachers), weights, temperature=temperature)
    listed = mix_teachers([torch.tensor(z) for z in teachers], weights, temperature=temperature)
    assert torch.equal(stacked, listed)
    assert np.allclose(stacked.numpy(), expected, atol=1e-12)
    assert np.allclose(stacked.sum(dim=-1), 1)


@given(arrays(np.float64, (2, 5, 3), elements=finite), temperatures)
def test_cross_entropy_to_a_mixture_is_the_mean_of_the_teachers_own(teachers, temperature):
    """Cross-entropy is linear in p: to a mixture it is the weighted mean of those to each teacher."""
    student, teachers = torch.randn(5, 3, dtype=torch.float64), torch.tensor(teachers)
    mixed = mix_teachers(teachers, (1, 3), temperature=temperature)
    own = [soft_cross_entropy(student, teacher, temperature=temperature).item() for teacher in teachers]
    actual = cross_entropy_to(student, mixed, temperature=temperature).item()
    assert actual == pytest.approx(0.25 * own[0] + 0.75 * own[1], rel=1e-9)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0), (1.0, -0.5), (0.0, 0.0), ()])
def test_weights_that_mix_nothing(weights):
    """Guards a weight that is broadcast over all teachers, and a division by 0."""
    with pytest.raises(InvalidInputError, match="2 teachers"):
        mix_teachers(torch.zeros(2, 4, 3), weights)


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
