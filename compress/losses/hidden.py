"""Hidden states: the student's layer says what the teacher's layer says.

Both need one width. Where the student is narrower, the caller projects it first, with a matrix that is learned.
`relations.py` compares layers of different widths without one.
"""

from torch import Tensor
from torch.nn import functional

from compress.losses.tokens import mean_over, select_tokens


def hidden_mse(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean squared error over the real tokens and the width.

    Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", equations 8 (layers:
    MSE(H^S W_h, H^T)) and 9 (embeddings: MSE(E^S W_e, E^T)). `student` is what the projection has made of H^S.
    Unlike `hidden_cosine` it also asks for the teacher's norms.

    Args:
        student: `[B, L, H]`, after the projection.
        teacher: `[B, L, H]`, without gradient.
        attention_mask: `[B, L]`, 1 or true for a real token.

    Returns:
        A scalar; 0 where no token is real.
    """
    student, teacher = select_tokens(student, attention_mask), select_tokens(teacher, attention_mask)
    return mean_over(functional.mse_loss(student, teacher, reduction="sum"), student.numel())


def hidden_cosine(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of 1 − cos(student, teacher) over the real tokens.

    Sanh et al. 2019, "DistilBERT, a distilled version of BERT", section 3 (L_cos): the cosine embedding loss with
    target +1, on the last hidden states. Unlike `hidden_mse` it asks for directions alone.

    Args:
        student: `[B, L, H]`.
        teacher: `[B, L, H]`, without gradient.
        attention_mask: `[B, L]`, 1 or true for a real token.

    Returns:
        A scalar between 0 and 2; 0 where no token is real.
    """
    student, teacher = select_tokens(student, attention_mask), select_tokens(teacher, attention_mask)
    return mean_over((1 - functional.cosine_similarity(student, teacher, dim=-1)).sum(), len(student))
