"""Soft targets: the teacher's whole answer instead of the gold label alone.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", section 2. Three ways to say it, of one
gradient: `soft_cross_entropy` for a teacher's logits, `cross_entropy_to` for probabilities that several teachers
have been mixed to (`mix_teachers`), and `soft_divergence`, which is 0 where student and teacher agree.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compress.errors import InvalidInputError
from compress.losses.tokens import mean_over, select_tokens, widen


def soft_cross_entropy(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the student's softened distribution under the teacher's, times T².

    With p = softmax(teacher / T) and q = softmax(student / T) the value is T² · mean over examples of −Σ p · log q.
    It is T² · KL(p ‖ q) plus T² times the teacher's entropy, which no student can change: the gradients are the
    same. T² keeps them of one size whatever T (Hinton et al., section 2.1). TinyBERT's prediction loss (Jiao et al.
    2020, equation 10) is this at T = 1.

    Args:
        student: Logits, `[B, C]`, or `[..., C]` of tokens.
        teacher: Logits of the student's shape, columns in the student's order of labels.
        temperature: T > 0; larger shows more of what the teacher thinks of the wrong classes.
        mask: `[...]`, 1 or true where a row counts; by default all do.

    Returns:
        A scalar, the mean over the rows that count.
    """
    soft = functional.softmax(select_tokens(teacher, mask) / temperature, dim=-1)
    return cross_entropy_to(select_tokens(student, mask), soft, temperature=temperature)


def cross_entropy_to(student: Tensor, probabilities: Tensor, *, temperature: float = 1.0) -> Tensor:
    """`soft_cross_entropy` to a distribution that is given as such: T² · mean over examples of −Σ p · log q.

    Args:
        student: Logits, `[B, C]`.
        probabilities: p, `[B, C]`, softened at the same temperature; `mix_teachers` makes them.
        temperature: T > 0, of the student's q = softmax(student / T).

    Returns:
        A scalar, the mean over the examples.
    """
    log_student = functional.log_softmax(widen(student) / temperature, dim=-1)
    total = -(probabilities * log_student).sum()
    return mean_over(total, log_student[..., 0].numel()) * temperature**2


def soft_divergence(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """T² · KL(p ‖ q), the mean over the rows that count.

    With p = softmax(teacher / T) and q = softmax(student / T) a row's value is T² · Σ p · (log p − log q). DistilBERT
    (Sanh et al. 2019, section 3: L_ce) teaches the masked language model so, at T = 2, on every real token. The
    gradient is `soft_cross_entropy`'s; the value is 0 where the student agrees, so that a curve can be read.

    Args:
        student: Logits, `[..., C]`, such as `[B, L, V]`.
        teacher: Logits of the student's shape.
        temperature: T > 0.
        mask: `[...]`, 1 or true where a row counts; by default all do. Nothing is computed on the others.

    Returns:
        A scalar.
    """
    log_teacher = functional.log_softmax(select_tokens(teacher, mask) / temperature, dim=-1)
    log_student = functional.log_softmax(select_tokens(student, mask) / temperature, dim=-1)
    total = functional.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return mean_over(total, len(log_student)) * temperature**2


def mix_teachers(
    logits: Sequence[Tensor] | Tensor, weights: Sequence[float], *, temperature: float = 1.0
) -> Tensor:
    """What several teachers say together: the weighted mean of their softened distributions.

    Distributions are averaged, not logits, as Hinton et al. (section 5) do with an ensemble: a teacher whose logits
    are large does not drown the others. The mixture of one teacher is its softmax(logits / T).

    Args:
        logits: Of each teacher `[B, C]`, in one order of labels; a sequence, or one tensor `[T, B, C]`.
        weights: One a teacher, not negative; they are divided by their sum.
        temperature: T > 0, as for the student that learns from the mixture.

    Returns:
        Probabilities, `[B, C]`.

    Raises:
        InvalidInputError: The weights are not one a teacher, one is negative, or all are 0.
    """
    if len(weights) != len(logits) or min(weights, default=-1.0) < 0 or sum(weights) == 0:
        raise InvalidInputError(
            f"{len(logits)} teachers are to be mixed by the weights {list(weights)}.",
            "Give one weight a teacher, none negative and not all 0.",
        )
    stacked = widen(logits if isinstance(logits, Tensor) else torch.stack(tuple(logits)))
    shares = stacked.new_tensor(weights) / sum(weights)
    distributions = functional.softmax(stacked / temperature, dim=-1)
    return (distributions * shares.view(-1, *[1] * (stacked.dim() - 1))).sum(dim=0)


def soft_regression(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the student's score to the teacher's.

    Args:
        student: Scores, `[B, 1]`.
        teacher: Scores, `[B, 1]`.

    Returns:
        A scalar.
    """
    return functional.mse_loss(student, teacher)
