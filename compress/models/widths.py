"""One layer's weights at another width: what is cut keeps the strongest part, what is added changes nothing at first.

Three things can be smaller in a student. Each has its rule:

- Hidden width: the coordinates with the most energy stay, in their order, the same ones everywhere.
- Heads: the heads with the largest ‖W_v‖·‖W_o‖ stay; inside a head W_qᵀW_k, which makes the scores, and W_oW_v,
  which makes the output, are each replaced by their best approximation of the smaller rank (Eckart, Young 1936).
- Feed-forward width: the neurons with the largest ‖w_in‖·‖w_out‖ stay.

Where the student is larger instead, what is new keeps the student's random start where it is written and zeros
where it is read, so that it adds nothing until it is trained.
"""

import torch
from torch import Tensor, nn

from compress.models.anatomy import Attention, FeedForward

Affine = tuple[Tensor, Tensor]
"""Weight `[out, in]` and bias `[out]`."""


def strongest(strength: Tensor, count: int) -> Tensor:
    """The indices of the `count` largest, in ascending order; all of them where there are fewer."""
    order = torch.argsort(strength, descending=True, stable=True)
    return order[:count].sort().values


def cut_affine(affine: Affine, *, rows: Tensor | None = None, columns: Tensor | None = None) -> Affine:
    """The rows (outputs) and columns (inputs) that stay."""
    weight, bias = affine
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    return (weight if columns is None else weight[:, columns]), bias


def write_affine(linear: nn.Linear, affine: Affine) -> None:
    """Copy into a linear map that may be larger: new inputs count nothing, new outputs stay as they are."""
    weight, bias = affine
    rows, columns = weight.shape
    linear.weight[:rows, :columns] = weight
    linear.weight[:, columns:] = 0
    linear.bias[:rows] = bias


def write_norm(norm: nn.LayerNorm, gain: Tensor, bias: Tensor) -> None:
    """Copy into a LayerNorm that may be wider.

    New coordinates start near zero, which makes the standard deviation smaller by √(old/new): so does the gain.
    """
    count = len(gain)
    norm.weight[:count] = gain * (count / len(norm.weight)) ** 0.5
    norm.bias[:count] = bias


def write_feed_forward(target: FeedForward, *, inner: Affine, outer: Affine) -> None:
    """Copy the neurons with the largest ‖w_in‖·‖w_out‖."""
    strength = inner[0].norm(dim=1) * outer[0].norm(dim=0)
    kept = strongest(strength, target.inner.out_features)
    write_affine(target.inner, cut_affine(inner, rows=kept))
    write_affine(target.outer, cut_affine(outer, columns=kept))


def write_attention(
    target: Attention, *, query: Affine, key: Affine, value: Affine, output: Affine, heads: tuple[int, int]
) -> None:
    """Copy heads, those with the largest ‖W_v‖·‖W_o‖ where there are too many.

    Args:
        target: The student's.
        query: The teacher's; its inputs are the coordinates that stay. So are those of `key` and `value`.
        key: See `query`.
        value: See `query`.
        output: The teacher's; its outputs are the coordinates that stay.
        heads: Their number in the teacher and in the student.
    """
    theirs, ours = heads
    q, k, v = (_split_heads(affine, theirs) for affine in (query, key, value))
    o = output[0].T.reshape(theirs, -1, len(output[1]))  # [A, d, H]
    kept = strongest(v.flatten(1).norm(dim=1) * o.flatten(1).norm(dim=1), ours)
    q, k, v, o = q[kept], k[kept], v[kept], o[kept]
    size, new_size = q.shape[1], target.query.out_features // ours
    if new_size < size:
        q, k = _reduce_rank(q, k, new_size)
        v, o = _reduce_rank(v, o, new_size)
    if new_size != size:  # the scores are divided by the root of the head's size
        q, k = (each * (new_size / size) ** 0.25 for each in (q, k))
    for linear, rows in ((target.query, q), (target.key, k), (target.value, v)):
        _write_heads(linear, rows, ours)
    _silence(target.query, heads=len(kept), size=q.shape[1], of=ours)
    columns = torch.zeros(ours, new_size, o.shape[2])
    columns[: len(kept), : o.shape[1]] = o
    write_affine(target.output, (columns.flatten(0, 1).T, output[1]))


def _split_heads(affine: Affine, heads: int) -> Tensor:
    """Weight and bias side by side, `[A, d, H + 1]`."""
    weight, bias = affine
    return torch.cat([weight, bias[:, None]], dim=1).view(heads, -1, weight.shape[1] + 1)


def _reduce_rank(first: Tensor, second: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Two factors `[A, size, ·]` whose product firstᵀ·second is the nearest of that rank to the given ones'."""
    q1, r1 = torch.linalg.qr(first.mT)
    q2, r2 = torch.linalg.qr(second.mT)
    left, values, right = torch.linalg.svd(r1 @ r2.mT)
    root = values[:, None, :size].sqrt()
    return (q1 @ left[..., :size] * root).mT, (q2 @ right.mT[..., :size] * root).mT


def _write_heads(linear: nn.Linear, rows: Tensor, heads: int) -> None:
    """Write `[A, d, H + 1]` into the first heads and the first rows of each; the rest stays as it is."""
    count, size, width = rows.shape
    linear.weight[:, width - 1 :] = 0
    linear.weight.view(heads, -1, linear.in_features)[:count, :size, : width - 1] = rows[..., :-1]
    linear.bias.view(heads, -1)[:count, :size] = rows[..., -1]


def _silence(query: nn.Linear, *, heads: int, size: int, of: int) -> None:
    """Zero the queries of the rows that are new in old heads, so that they add nothing to the scores."""
    query.weight.view(of, -1, query.in_features)[:heads, size:] = 0
    query.bias.view(of, -1)[:heads, size:] = 0
