"""Hidden losses against plain transcriptions of the papers' formulas, one token at a time."""

import numpy as np
import pytest
import torch

from compress.losses.hidden import hidden_cosine, hidden_mse

LENGTHS = (5, 2, 1)
MASK = np.array([[1] * length + [0] * (5 - length) for length in LENGTHS])


@pytest.fixture
def states():
    draw = np.random.default_rng(0)
    return draw.normal(size=(3, 5, 7)), draw.normal(size=(3, 5, 7)) * 3


def tensors(*arrays):
    return [torch.tensor(array) for array in arrays]


def test_mse_is_tinybert_s(states):
    """Equations 8 and 9 over real tokens: guards a mean over padding, and a sum over the width."""
    student, teacher = states
    errors = [
        (student[b, t, i] - teacher[b, t, i]) ** 2
        for b, length in enumerate(LENGTHS)
        for t in range(length)
        for i in range(7)
    ]
    assert hidden_mse(*tensors(student, teacher, MASK)).item() == pytest.approx(np.mean(errors), abs=1e-12)


def test_cosine_is_distilbert_s(states):
    student, teacher = states
    gaps = []
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            s, v = student[b, t], teacher[b, t]
            gaps.append(1 - s @ v / (np.sqrt(s @ s) * np.sqrt(v @ v)))
    assert hidden_cosine(*tensors(student, teacher, MASK)).item() == pytest.approx(np.mean(gaps), abs=1e-12)


def test_cosine_agrees_with_the_authors_call(states):
    """DistilBERT's distiller.py: torch's cosine embedding loss, target +1, of the selected rows."""
    student, teacher, mask = tensors(*states, MASK)
    rows = mask.bool()
    expected = torch.nn.functional.cosine_embedding_loss(
        student[rows], teacher[rows], torch.ones(sum(LENGTHS))
    )
    assert hidden_cosine(student, teacher, mask).item() == pytest.approx(expected.item(), abs=1e-9)


def test_cosine_does_not_see_norms_and_mse_does(states):
    student, teacher, mask = tensors(*states, MASK)
    assert hidden_cosine(7 * student, teacher, mask).item() == pytest.approx(
        hidden_cosine(student, teacher, mask).item()
    )
    assert hidden_cosine(-teacher, teacher, mask).item() == pytest.approx(2)
    assert hidden_mse(7 * teacher, teacher, mask) > 1
