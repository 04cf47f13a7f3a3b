"""Relations: which tokens are alike, whatever the widths and the heads of the two models."""

import math

import torch
from torch import Tensor

from compress.errors import InvalidInputError
from compress.losses.attention import attention_divergence
from compress.losses.tokens import widen


def relation_divergence(
    student: Tensor, teacher: Tensor, attention_mask: Tensor, *, relation_heads: int
) -> Tensor:
    """KL(teacher ‖ student) of self-relations, the mean over relation heads and real tokens.

    Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation", equations 3 to 5. Queries, keys or
    values of all heads lie side by side and are cut into A_r relation heads of width d_r; a head's relation is
    softmax(X·Xᵀ/√d_r) over the real tokens, `[L, L]` for any d_r. So neither widths nor heads need agree, and no
    projection is learned. MiniLM's value relation (Wang et al. 2020, equations 4 to 6: L_VR) is this with the
    models' own heads. Next to `attention_divergence`, X stands for both Q and K.

    Args:
        student: Queries, keys or values of one layer, `[B, L, Hs]`, heads side by side.
        teacher: The same of the teacher, `[B, L, Ht]`, without gradient.
        attention_mask: `[B, L]`, 1 or true for a real token.
        relation_heads: A_r; divides both widths. More heads are more relations, each of narrower vectors.

    Returns:
        A scalar; 0 where no token is real.

    Raises:
        InvalidInputError: `relation_heads` does not divide both widths.
    """
    check_relation_heads(relation_heads, student_width=student.shape[-1], teacher_width=teacher.shape[-1])
    ours, theirs = _relate(student, relation_heads), _relate(teacher, relation_heads)
    return attention_divergence(ours, theirs, attention_mask)


def check_relation_heads(relation_heads: int, *, student_width: int, teacher_width: int) -> None:
    """Refuse a number of relation heads that does not divide both widths.

    Raises:
        InvalidInputError: It does not; the error names those that do.
    """
    common = math.gcd(student_width, teacher_width)
    if relation_heads < 1 or common % relation_heads:
        divisors = [number for number in range(1, common + 1) if common % number == 0]
        raise InvalidInputError(
            f"relation_heads = {relation_heads} does not divide both the student's width {student_width} "
            f"and the teacher's {teacher_width}.",
            f"Take one of {', '.join(map(str, divisors))}.",
        )


def _relate(states: Tensor, heads: int) -> Tensor:
    """X·Xᵀ/√d of each head: `[B, L, H]` → `[B, A, L, L]`, in at least float32 under autocast, too."""
    batch, length, width = states.shape
    with torch.autocast(states.device.type, enabled=False):
        cut = widen(states).reshape(batch, length, heads, width // heads).transpose(1, 2)
        # Scaled before the product: [L, d] is smaller than [L, L].
        scores: Tensor = (cut / math.sqrt(width // heads)) @ cut.transpose(-1, -2)
    return scores
