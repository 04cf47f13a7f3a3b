"""Soft targets: the teacher's whole answer instead of the gold label alone.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
"""

from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's softened distribution under the teacher's, times T².

    With p = softmax(teacher / T) and q = softmax(student / T) the value is T² · mean over examples of −Σ p · log q.
    It is T² · KL(p ‖ q) plus T² times the teacher's entropy, which no student can change: the gradients are the
    same. T² keeps them of one size whatever T (Hinton et al., section 2.1). TinyBERT's prediction loss (Jiao et al.
    2020, equation 10) is this at T = 1.

    Args:
        student: Logits, `[B, C]`.
        teacher: Logits, `[B, C]`, columns in the student's order of labels.
        temperature: T > 0; larger shows more of what the teacher thinks of the wrong classes.

    Returns:
        A scalar.
    """
    soft = functional.softmax(teacher / temperature, dim=-1)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    return -(soft * log_student).sum(dim=-1).mean() * temperature**2


def soft_regression(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the student's score to the teacher's.

    Args:
        student: Scores, `[B, 1]`.
        teacher: Scores, `[B, 1]`.

    Returns:
        A scalar.
    """
    return functional.mse_loss(student, teacher)
