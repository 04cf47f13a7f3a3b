"""Relations against a plain transcription of MiniLMv2's equations, and across widths."""

import numpy as np
import pytest
import torch

from compress.errors import InvalidInputError
from compress.losses.relations import relation_divergence

LENGTHS = (5, 3, 1)
MASK = torch.tensor([[1] * length + [0] * (5 - length) for length in LENGTHS])
COMMON = (1, 2, 3, 4, 6, 8, 12, 24)


def states(width, seed):
    return np.random.default_rng(seed).normal(size=(3, 5, width))


def relate(vectors, heads, head, token):
    """softmax(x_t · Xᵀ / √d) of one head, of real tokens only."""
    width = vectors.shape[1] // heads
    cut = vectors[:, head * width : (head + 1) * width]
    logits = np.array([cut[token] @ other / np.sqrt(width) for other in cut])
    e = np.exp(logits - logits.max())
    return e / e.sum()


def by_hand(student, teacher, heads):
    """Equations 3 to 5: KL(R^T ‖ R^S) by row."""
    rows = []
    for b, length in enumerate(LENGTHS):
        for head in range(heads):
            for token in range(length):
                p = relate(teacher[b, :length], heads, head, token)
                q = relate(student[b, :length], heads, head, token)
                rows.append(np.sum(p * np.log(p / q)))
    return np.mean(rows)


@pytest.mark.parametrize("heads", COMMON)
def test_widths_312_and_384(heads):
    """Guards a √d of the wrong model or of the whole width, and heads cut across tokens instead of the width."""
    student, teacher = states(312, seed=0) * 0.4, states(384, seed=1) * 0.4
    actual = relation_divergence(
        torch.tensor(student), torch.tensor(teacher), MASK, relation_heads=heads
    ).item()
    assert actual == pytest.approx(by_hand(student, teacher, heads), abs=1e-11)
    assert actual > 1e-3


def test_single_precision_is_within_1e_6():
    student, teacher = states(12, seed=0), states(24, seed=1)
    single = [torch.tensor(array, dtype=torch.float32) for array in (student, teacher)]
    actual = relation_divergence(*single, MASK, relation_heads=3)
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(by_hand(student, teacher, 3), abs=1e-6)


def test_a_rotation_within_a_head_is_no_difference():
    """Relations are of inner products: what a projection would have to learn is not asked for."""
    teacher = torch.tensor(states(8, seed=2))
    rotation, _ = torch.linalg.qr(torch.tensor(np.random.default_rng(3).normal(size=(4, 4))))
    student = (teacher.unflatten(-1, (2, 4)) @ rotation).flatten(-2)
    assert relation_divergence(student, teacher, MASK, relation_heads=2).item() == pytest.approx(0, abs=1e-12)
    assert relation_divergence(student.flip(-1), teacher, MASK, relation_heads=2) > 1e-3


@pytest.mark.parametrize("heads", [0, -1, 5, 13, 16, 48])
def test_heads_that_do_not_divide_both_widths(heads):
    """13 divides 312 alone, 16 and 48 divide 384 alone."""
    with pytest.raises(InvalidInputError, match=r"312.*384") as raised:
        relation_divergence(
            torch.zeros(1, 2, 312), torch.zeros(1, 2, 384), MASK[:1, :2], relation_heads=heads
        )
    assert raised.value.fix == "Take one of 1, 2, 3, 4, 6, 8, 12, 24."


def test_products_stay_in_single_precision_under_autocast():
    """Guards matmul, which autocast would run in bfloat16."""
    student, teacher = (torch.tensor(states(24, seed=seed), dtype=torch.float32) for seed in (0, 1))
    expected = relation_divergence(student, teacher, MASK, relation_heads=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = relation_divergence(student, teacher, MASK, relation_heads=2)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-6)
