"""Attention losses against plain transcriptions of the papers' formulas, one row at a time."""

import numpy as np
import pytest
import torch

from compress.errors import InvalidInputError
from compress.losses.attention import attention_divergence, attention_mse

LENGTHS = (5, 3, 1)
HEADS = 2
MASK = np.array([[1] * length + [0] * (5 - length) for length in LENGTHS])


@pytest.fixture
def scores():
    draw = np.random.default_rng(0)
    return draw.normal(size=(3, HEADS, 5, 5)) * 2, draw.normal(size=(3, HEADS, 5, 5)) * 2


def tensors(*arrays):
    return [torch.tensor(array) for array in arrays]


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def test_mse_is_tinybert_s_of_raw_scores(scores):
    """Equation 7 over real queries and keys: guards probabilities in the scores' place, and a mean over L × L."""
    student, teacher = scores
    errors = [
        (student[b, a, i, j] - teacher[b, a, i, j]) ** 2
        for b, length in enumerate(LENGTHS)
        for a in range(HEADS)
        for i in range(length)
        for j in range(length)
    ]
    assert attention_mse(*tensors(student, teacher, MASK)).item() == pytest.approx(np.mean(errors), abs=1e-12)


def test_without_padding_it_is_the_authors_own_mean(scores):
    student, teacher = tensors(*scores)
    expected = torch.nn.functional.mse_loss(student, teacher)
    assert attention_mse(student, teacher, torch.ones(3, 5)).item() == pytest.approx(expected.item())


def test_divergence_is_minilm_s(scores):
    """L_AT: the student is the second argument of KL. Guards the two exchanged, and padded keys in the softmax."""
    student, teacher = scores
    rows = []
    for b, length in enumerate(LENGTHS):
        for a in range(HEADS):
            for t in range(length):
                p, q = softmax(teacher[b, a, t, :length]), softmax(student[b, a, t, :length])
                rows.append(np.sum(p * np.log(p / q)))
    actual = attention_divergence(*tensors(student, teacher, MASK)).item()
    assert actual == pytest.approx(np.mean(rows), abs=1e-12)


@pytest.mark.parametrize("loss", [attention_mse, attention_divergence])
@pytest.mark.parametrize("closed", [-np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("whole_rows", [False, True])
def test_keys_that_a_model_has_closed(loss, closed, whole_rows, scores):
    """Guards NaN from −inf − (−inf) and from −inf · 0, in the value and in the gradient."""
    student, teacher, mask = tensors(*scores, MASK)
    expected = loss(student, teacher, mask)
    shut = (mask == 0)[:, None, None, :].expand(3, HEADS, 5, 5)
    if whole_rows:
        shut = shut | shut.transpose(-1, -2)
    shut_student = student.float().masked_fill(shut, closed).requires_grad_()
    actual = loss(shut_student, teacher.float().masked_fill(shut, closed), mask)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)
    actual.backward()
    assert shut_student.grad.isfinite().all()
    assert (shut_student.grad[shut] == 0).all()


def test_a_row_s_offset(scores):
    """The softmax forgets it, raw scores do not."""
    _, teacher, mask = tensors(*scores, MASK)
    moved = teacher + torch.randn(3, HEADS, 5, 1)
    assert attention_divergence(moved, teacher, mask).item() == pytest.approx(0, abs=1e-6)
    assert attention_mse(moved, teacher, mask) > 0.1


@pytest.mark.parametrize("loss", [attention_mse, attention_divergence])
def test_unequal_heads_are_refused(loss, scores):
    """Guards one head that is broadcast against each of the teacher's."""
    student, teacher, mask = tensors(*scores, MASK)
    with pytest.raises(InvalidInputError, match="1 attention heads, the teacher's 2"):
        loss(student[:, :1], teacher, mask)
