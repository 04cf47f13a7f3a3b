"""Which examples share a batch: a pure function of seed, epoch, lengths and batch size.

Examples of like length are put together, because padding costs what text costs (2.4 times the samples a
second on SST-2 with a small BERT). Draws come from a generator of our own, never from the global random state, so a
resumed run sees the batches that an undisturbed one would have seen.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedTokenizerBase

BATCHES_A_BUCKET = 50
"""Batches whose examples are sorted together: more means less padding, fewer means better mixing."""


@dataclass(frozen=True)
class Rows:
    """A batch as it was fetched: token ids a text, not yet padded, columns `[B, …]`, and which examples they are."""

    tokens: Mapping[str, list[list[int]]]
    columns: Mapping[str, NDArray[Any]]
    numbers: Sequence[int] = ()


class Examples(Dataset[Rows], ABC):
    """What batches are drawn from: `N` tokenized texts, fetched a batch at a time.

    Attributes:
        lengths: Tokens of each, special ones included, `[N]`.
    """

    lengths: Sequence[int] | NDArray[np.int64]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, rows: list[int]) -> Rows:
        """The examples of the given numbers."""

    def __getitem__(self, row: int) -> Rows:
        return self.__getitems__([row])


class CorpusExamples(Examples):
    """Examples cut from a corpus, where nothing is known of a text but its tokens."""

    lengths: NDArray[np.int64]

    @property
    def facts(self) -> dict[str, int]:
        """For the record of a run."""
        return {"corpus_sequences": len(self), "corpus_tokens": int(self.lengths.sum())}

    @abstractmethod
    def content(self, row: int) -> NDArray[Any]:
        """The tokens of one example, special ones left out."""


class TokenizedSet(Examples):
    """Tokenized texts and what is known of each; a batch is fetched whole.

    Args:
        tokens: The model's inputs, each a list of `N` lists.
        columns: By name, each `[N, …]`.
        truncated: How many of the texts were cut.
    """

    def __init__(
        self,
        tokens: Mapping[str, list[list[int]]],
        columns: Mapping[str, NDArray[Any]],
        *,
        truncated: int = 0,
    ) -> None:
        self.tokens = tokens
        self.columns = columns
        self.truncated = truncated
        self.lengths = [len(ids) for ids in tokens["input_ids"]]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitems__(self, rows: list[int]) -> Rows:
        """The examples of the given numbers: what PyTorch's loader asks for a batch at a time."""
        return Rows(
            tokens={name: [texts[row] for row in rows] for name, texts in self.tokens.items()},
            columns={name: column[rows] for name, column in self.columns.items()},
            numbers=rows,
        )


class Selection(Examples):
    """Some examples of a set, in an order of their own; nothing is copied.

    Args:
        whole: The set.
        rows: Which of it, `[N]`.
    """

    def __init__(self, whole: Examples, rows: NDArray[np.int64]) -> None:
        self.whole = whole
        self.rows = rows
        self.lengths = np.asarray(whole.lengths)[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, rows: list[int]) -> Rows:
        """The examples of the given numbers."""
        return replace(self.whole.__getitems__(self.rows[rows].tolist()), numbers=rows)


class WithColumn(Examples):
    """Examples and one more thing that is known of each.

    Args:
        examples: What they were before.
        name: Of the column.
        values: `[N, …]`.
    """

    def __init__(self, examples: Examples, name: str, values: NDArray[Any]) -> None:
        self.examples = examples
        self.name = name
        self.values = values
        self.lengths = examples.lengths

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, rows: list[int]) -> Rows:
        """The examples of the given numbers."""
        found = self.examples.__getitems__(rows)
        return replace(found, columns={**found.columns, self.name: self.values[rows]})


def pad_rows(rows: Rows, *, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """A batch as tensors: token ids padded to the longest text, `[B, L]`, and each column, `[B, …]`."""
    padded = tokenizer.pad(dict(rows.tokens), return_tensors="pt")
    columns = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in rows.columns.items()}
    return {**padded, **columns}


def bucket_by_length(
    lengths: Sequence[int] | NDArray[np.int64], *, batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Shuffle examples into batches of like length.

    Shuffled examples are cut into buckets of `BATCHES_A_BUCKET` batches, sorted by length within, cut into batches,
    and the batches shuffled again. Each example occurs exactly once; only one batch may be smaller.

    Args:
        lengths: Tokens of each example, `[N]`.
        batch_size: Examples of a batch, over all processes.
        seed: Of the run.
        epoch: Counted from 0; each has an order of its own.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    sizes = np.asarray(lengths)
    bucket = batch_size * BATCHES_A_BUCKET
    batches: list[list[int]] = []
    for start in range(0, len(order), bucket):
        rows = order[start : start + bucket]
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        batches += [rows[i : i + batch_size].tolist() for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def sort_by_length(lengths: Sequence[int] | NDArray[np.int64], *, batch_size: int) -> list[list[int]]:
    """Cut examples, sorted by length, into batches: for predictions, where order does not matter."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]


def bucket_by_tokens(
    lengths: Sequence[int] | NDArray[np.int64], *, batch_tokens: int, seed: int, epoch: int
) -> list[list[int]]:
    """Shuffle examples into batches of like length and nearly equal tokens (RoBERTa's doc-sentences, section 4.2).

    A batch is as many examples as keep within `batch_tokens` when padded to the longest of them, and one at the least.
    How many batches there are, and how long their examples, is the same in every epoch; which examples of one length
    are together, and when, is not.

    Args:
        lengths: Tokens of each example, `[N]`.
        batch_tokens: Of a batch, padding included, over all processes.
        seed: Of the run.
        epoch: Counted from 0; each has an order of its own.
    """
    generator = np.random.default_rng([seed, epoch])
    sizes = np.asarray(lengths)
    rows = np.lexsort((generator.random(len(sizes)), sizes))
    begins = _cut_by_tokens(sizes[rows], batch_tokens)
    batches = np.split(rows, begins[1:])
    return [batches[i].tolist() for i in generator.permutation(len(batches))]


def _cut_by_tokens(sizes: NDArray[np.int64], batch_tokens: int) -> list[int]:
    """Where each batch of ascending sizes begins: its last example is its longest."""
    begins = [0]
    while begins[-1] < len(sizes):
        begin = begins[-1]
        # Of an ascending row so many times its next size is ascending, too.
        most = batch_tokens // int(sizes[begin])
        ahead = sizes[begin : begin + most]
        fits = np.searchsorted(ahead * np.arange(1, len(ahead) + 1), batch_tokens, side="right")
        begins.append(begin + max(1, int(fits)))
    return begins[:-1]


@runtime_checkable
class Epochal(Protocol):
    """What draws anew each epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose what is drawn."""


class BucketSampler(Sampler[list[int]]):
    """Batches of like length as a sampler: this process's share of each global batch, never empty.

    Args:
        lengths: Tokens of each example, `[N]`.
        batch_size: Examples of a batch, over all processes.
        batch_tokens: Of a batch, over all processes, in the place of so many examples.
        seed: Of the run.
        rank: This process, counted from 0.
        world_size: Processes in all.
        follower: What is told of each epoch, too, if it draws anything. The loader's own word does not reach what
            makes its batches where it begins in the middle of an epoch, as a resumed run's does.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        *,
        batch_size: int,
        batch_tokens: int | None = None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        follower: object = None,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.follower = follower
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, and what is drawn in it."""
        self.epoch = epoch
        if isinstance(self.follower, Epochal):
            self.follower.set_epoch(epoch)

    def __len__(self) -> int:
        if self.batch_tokens is not None:
            return len(_cut_by_tokens(np.sort(self.lengths), self.batch_tokens))
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._shuffle():
            # A batch that is smaller than the number of processes is everybody's: none may be without work,
            # and the mean over equal means is their mean.
            shared = len(batch) < self.world_size
            yield batch if shared else batch[self.rank :: self.world_size]

    def _shuffle(self) -> list[list[int]]:
        when = {"seed": self.seed, "epoch": self.epoch}
        if self.batch_tokens is not None:
            return bucket_by_tokens(self.lengths, batch_tokens=self.batch_tokens, **when)
        return bucket_by_length(self.lengths, batch_size=self.batch_size, **when)


class EpochDataLoader(DataLoader[Any]):
    """A loader that tells its sampler which epoch begins, as `transformers.Trainer` asks of it."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, and what is drawn in it."""
        if isinstance(self.batch_sampler, Epochal):
            self.batch_sampler.set_epoch(epoch)
