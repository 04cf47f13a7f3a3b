"""Attention: the student looks where the teacher looks, head by head.

Both take the raw scores Q·Kᵀ/√d, before the softmax, and need as many heads on both sides. `relations.py` needs not.
"""

import torch
from torch import Tensor
from torch.nn import functional

from compress.errors import InvalidInputError
from compress.losses.tokens import mean_over, widen


def attention_mse(student_scores: Tensor, teacher_scores: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean squared error of the raw scores, over heads, real queries and real keys.

    Jiao et al. 2020, "TinyBERT", equation 7: 1/h Σ_i MSE(A_i^S, A_i^T), A the scores before the softmax. The
    authors' code sets the scores at padded keys to 0 and divides by all L × L cells, so that its value shrinks as a
    batch is padded. Here only cells of a real query and a real key are counted and divided by. Unlike
    `attention_divergence` it also asks for what the softmax forgets, a row's offset.

    Args:
        student_scores: `[B, A, L, L]`, queries by keys. Cells of padding may be −inf.
        teacher_scores: `[B, A, L, L]`, without gradient.
        attention_mask: `[B, L]`, 1 or true for a real token.

    Returns:
        A scalar; 0 where no token is real.

    Raises:
        InvalidInputError: The numbers of heads differ.
    """
    _check_heads(student_scores, teacher_scores)
    real = _real_cells(attention_mask)
    # Chosen before the difference, never multiplied: −inf − (−inf) is NaN, and NaN · 0 is, too.
    student = torch.where(real, widen(student_scores), 0.0)
    teacher = torch.where(real, widen(teacher_scores), 0.0)
    total = functional.mse_loss(student, teacher, reduction="sum")
    return mean_over(total, real.sum() * student_scores.shape[1])


def attention_divergence(student_scores: Tensor, teacher_scores: Tensor, attention_mask: Tensor) -> Tensor:
    """KL(teacher ‖ student) of the attention distributions, the mean over heads and real queries.

    Wang et al. 2020, "MiniLM: Deep Self-Attention Distillation", section 3.1 (L_AT, of the last layer):
    1/(A · |x|) Σ_a Σ_t KL(A^T_{a,t} ‖ A^S_{a,t}), where A is the softmax of the scores over the real keys. Unlike
    `attention_mse` it weighs a key by how much the teacher looks at it.

    Args:
        student_scores: `[B, A, L, L]`, queries by keys. Cells of padding may be −inf.
        teacher_scores: `[B, A, L, L]`, without gradient.
        attention_mask: `[B, L]`, 1 or true for a real token.

    Returns:
        A scalar; 0 where no token is real.

    Raises:
        InvalidInputError: The numbers of heads differ.
    """
    _check_heads(student_scores, teacher_scores)
    real = _real_cells(attention_mask)
    log_student, log_teacher = _log_attention(student_scores, real), _log_attention(teacher_scores, real)
    total = functional.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return mean_over(total, attention_mask.bool().sum() * student_scores.shape[1])


def _real_cells(attention_mask: Tensor) -> Tensor:
    """`[B, 1, L, L]`: where both the query and the key are real."""
    real = attention_mask.bool()
    return real[:, None, :, None] & real[:, None, None, :]


def _log_attention(scores: Tensor, real: Tensor) -> Tensor:
    """The logarithm of the softmax over real keys; a padded query's row is uniform, so it diverges from no other.

    The least finite number stands for −inf, whose differences are NaN; its exponential is as much 0.
    """
    scores = widen(scores)
    return functional.log_softmax(torch.where(real, scores, torch.finfo(scores.dtype).min), dim=-1)


def _check_heads(student_scores: Tensor, teacher_scores: Tensor) -> None:
    """Refuse unequal numbers of heads: one head would silently be compared with each of the other side's."""
    ours, theirs = student_scores.shape[1], teacher_scores.shape[1]
    if ours != theirs:
        raise InvalidInputError(
            f"The student's layer has {ours} attention heads, the teacher's {theirs}: they cannot be compared one by one.",
            "Give the student as many heads as the teacher, or distil relations, which are cut anew.",
        )
