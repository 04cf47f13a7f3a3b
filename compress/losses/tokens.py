"""Which positions count, and in which precision: what the losses on tokens share."""

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """The tensor in float32, where it is narrower: sums over thousands of entries drown in bfloat16."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def select_tokens(states: Tensor, mask: Tensor | None) -> Tensor:
    """The rows of the positions that count, in at least float32.

    Rows are taken before anything is computed on them: padding costs nothing, and nothing that stands there can
    reach a value or a gradient.

    Args:
        states: `[..., W]`.
        mask: `[...]`, 1 or true where a position counts; `None` where all do.

    Returns:
        `[K, W]`, K the number of positions that count.
    """
    rows = states.flatten(end_dim=-2)
    if mask is not None:
        rows = rows.index_select(0, mask.flatten().nonzero().squeeze(-1))
    return widen(rows)


def mean_over(total: Tensor, count: int | Tensor) -> Tensor:
    """A sum over so many entries as their mean; 0, not NaN, where there are none."""
    return total / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))
