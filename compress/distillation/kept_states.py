"""A teacher's states as rows of numbers: what is kept of a text, and a teacher that reads it instead of computing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PretrainedConfig

from compress.distillation.capture import States
from compress.distillation.objective import Comparison, teacher_needs
from compress.distillation.pool import ROW
from compress.models.attention import Vectors
from compress.objective import Batch
from compress.recipes.terms import CosineTerm, HiddenTerm


@dataclass(frozen=True)
class Layout:
    """What is kept of a text of L tokens: hidden states, then vectors, each `[L, H]`; then scores, each `[A, L, L]`.

    Attributes:
        hidden: Layers whose hidden states are kept, 0 the embeddings.
        vectors: Layers and which of their queries, keys and values.
        scores: Layers whose attention scores are kept.
        width: H.
        heads: A.
        bf16: Whether the teacher computes in bfloat16.
    """

    hidden: tuple[int, ...]
    vectors: tuple[tuple[int, Vectors], ...]
    scores: tuple[int, ...]
    width: int
    heads: int
    bf16: bool

    @property
    def planes(self) -> int:
        """How many `[L, H]` a text has."""
        return len(self.hidden) + len(self.vectors)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is stored: NumPy has no bfloat16, so its bits."""
        return np.dtype(np.uint16 if self.bf16 else np.float32)

    def count(self, lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers that texts of so many tokens have, each."""
        tokens = np.asarray(lengths, dtype=np.int64)
        return self.planes * self.width * tokens + len(self.scores) * self.heads * tokens**2


def lay_out(comparisons: Sequence[Comparison], teacher: PretrainedConfig, *, bf16: bool) -> Layout:
    """What the terms compare of a teacher, token by token."""
    needs = teacher_needs(comparisons, answers=False)
    compared = [each.pairs for each in comparisons if isinstance(each.term, HiddenTerm | CosineTerm)]
    return Layout(
        hidden=tuple(sorted({theirs for pairs in compared for _, theirs in pairs})),
        vectors=tuple(
            (layer, name) for layer in sorted(needs.vectors) for name in sorted(needs.vectors[layer])
        ),
        scores=tuple(sorted(needs.scores)),
        width=teacher.hidden_size,
        heads=teacher.num_attention_heads,
        bf16=bf16,
    )


class CachedTeacher:
    """Says what a teacher thought of a batch's tokens: `FrozenTeacher`'s answer, read.

    Padding is 0. Layers that were not asked for are there as tensors without elements.

    Args:
        layout: What is kept of each text.
        lengths: Tokens of each text, `[N]`.
        shards: Each all numbers of some texts, one text after the other.
    """

    def __init__(self, layout: Layout, lengths: NDArray[np.int64], shards: Sequence[NDArray[Any]]) -> None:
        self.layout = layout
        self.lengths = lengths
        self.shards = shards
        self._counts = layout.count(lengths)
        self._begins = np.cumsum(self._counts) - self._counts
        self._shard_begins = np.cumsum([0, *map(len, shards)])[:-1]

    def __call__(self, batch: Batch) -> States:
        """What the teacher's layers say of a batch that `Located` examples were made into."""
        mask, rows = batch["attention_mask"].cpu().numpy(), batch[ROW].cpu().numpy()
        lengths = self.lengths[rows]
        if not np.array_equal(mask.sum(axis=1), lengths):
            raise RuntimeError("the texts of a batch are not as long as those whose states were kept")
        layout, (size, length) = self.layout, mask.shape
        planes = np.zeros((layout.planes, size, length, layout.width), dtype=layout.dtype)
        cells = np.zeros((len(layout.scores), size, layout.heads, length, length), dtype=layout.dtype)
        for place, (row, end) in enumerate(zip(rows, lengths, strict=True)):
            text, span = self._read(row), slice(end)  # padding follows
            ours = planes[:, place, span]
            ours[...] = text[: ours.size].reshape(ours.shape)
            theirs = cells[:, place, :, span, span]
            theirs[...] = text[ours.size :].reshape(theirs.shape)
        return self._name(*(_as_tensor(each).to(batch[ROW].device) for each in (planes, cells)))

    def _read(self, row: int) -> NDArray[Any]:
        home = int(np.searchsorted(self._shard_begins, self._begins[row], side="right")) - 1
        begin = self._begins[row] - self._shard_begins[home]
        return self.shards[home][begin : begin + self._counts[row]]

    def _name(self, planes: Tensor, cells: Tensor) -> States:
        layout, kept = self.layout, len(self.layout.hidden)
        hidden = [planes.new_empty(0)] * (1 + max(layout.hidden, default=-1))
        for plane, layer in enumerate(layout.hidden):
            hidden[layer] = planes[plane]
        vectors: dict[int, dict[Vectors, Tensor]] = {}
        for plane, (layer, name) in enumerate(layout.vectors, start=kept):
            vectors.setdefault(layer, {})[name] = planes[plane]
        scores = {layer: cells[place] for place, layer in enumerate(layout.scores)}
        return States(logits=None, hidden=tuple(hidden), scores=scores, vectors=vectors)


def as_array(tensor: Tensor) -> NDArray[Any]:
    """A tensor in memory; of bfloat16 its bits."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def _as_tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
