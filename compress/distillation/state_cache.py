"""What a teacher's layers say, on disk: computed once, kept in shards, memory-mapped.

A teacher is frozen and in eval mode; where its input is the same text each epoch, so is all that happens inside it.
Kept are the layers that the terms compare and nothing else, in the precision that the teacher computes in, without
padding. Texts lie in an order of their own, by length and content, each once, those of the hold-out
among them: students and seeds share the cache. A shard's batches depend on nothing outside it, so a damaged one is made again to
the same bits.
"""

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.batching import pad_rows
from compress.distillation.kept_states import CachedTeacher, Layout, as_array
from compress.distillation.objective import Comparison, Teach
from compress.distillation.pool import Pool
from compress.distillation.shards import is_whole, write_shard
from compress.distillation.teachers import load_teacher
from compress.environment import describe, device
from compress.processes import is_main, wait
from compress.recipes.values import Frozen
from compress.runs import SCHEMA_VERSION, TEACHER_CACHE, content_key, write_record
from compress.sources import content_hash
from compress.storage import holding, telling_failed_writes

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of what lies in the cache; another number makes it all anew."""
SHARD_BYTES = 64 << 20
"""Of a shard at the most, unless one text alone has more: it is built in memory."""
BATCH_SIZE = 32
ABOUT_FILE = "about.json"


class About(Frozen):
    """What a cache holds, for people; its directory's name is the hash of what decides it."""

    schema_version: int = SCHEMA_VERSION
    teacher: str
    texts: int
    tokens: int
    bytes: int
    hidden: tuple[int, ...]
    vectors: tuple[tuple[int, str], ...]
    scores: tuple[int, ...]


@dataclass(frozen=True)
class StateCache:
    """Where a teacher's states for some texts lie, or will.

    Attributes:
        folder: Of the shards.
        source: The directory of the teacher's weights.
        comparisons: The terms.
        layout: What is kept of each text.
        pool: The texts.
    """

    folder: Path
    source: Path
    comparisons: tuple[Comparison, ...]
    layout: Layout
    pool: Pool

    @property
    def bytes(self) -> int:
        """Of all shards when they are there."""
        return int(self.layout.count(self.pool.lengths).sum()) * self.layout.dtype.itemsize

    def open(self, tokenizer: PreTrainedTokenizerBase) -> CachedTeacher:
        """Take what is whole, make what is missing or damaged, and read from it ever after.

        A second process that wants the same waits for the first.

        Args:
            tokenizer: Pads the texts where the teacher has to read them.

        Raises:
            CompressError: The cache cannot be written.
        """
        parts = _cut(self.layout.count(self.pool.lengths), most=SHARD_BYTES // self.layout.dtype.itemsize)
        if is_main():
            with (
                holding(self.folder, busy="computes the teacher's states"),
                telling_failed_writes(self.folder),
            ):
                missing = [number for number in range(len(parts)) if not is_whole(self._file(number))]
                if missing:
                    self._make(missing, parts, tokenizer)
        wait()
        # Slices of a memmap are memmaps, each of which takes longer to make than a text to read.
        shards = [np.load(self._file(number), mmap_mode="r").view(np.ndarray) for number in range(len(parts))]
        return CachedTeacher(self.layout, self.pool.lengths, shards)

    def _make(self, missing: list[int], parts: list[range], tokenizer: PreTrainedTokenizerBase) -> None:
        layout, lengths = self.layout, self.pool.lengths
        about = About(
            teacher=self.source.name,
            texts=len(lengths),
            tokens=int(lengths.sum()),
            bytes=self.bytes,
            hidden=layout.hidden,
            vectors=layout.vectors,
            scores=layout.scores,
        )
        write_record(self.folder / ABOUT_FILE, about)
        logger.info("  the teacher's states are computed: %d of %d shards", len(missing), len(parts))
        teach = load_teacher(self.source, self.comparisons, head=None, bf16=layout.bf16)
        for number in missing:
            content = io.BytesIO()
            np.save(content, _compute(teach, self.pool, parts[number], layout, tokenizer=tokenizer))
            write_shard(self._file(number), content.getvalue(), rows=len(parts[number]))

    def _file(self, number: int) -> Path:
        return self.folder / f"states-{number:05d}.npy"


def locate_states(
    source: Path, comparisons: tuple[Comparison, ...], layout: Layout, pool: Pool, *, store: Path
) -> StateCache:
    """Where the states lie: under a hash over the teacher's files, the texts' tokens, what is kept, the kind of device and the versions.

    Args:
        source: The directory of the teacher's weights.
        comparisons: The terms.
        layout: What is kept of each text.
        pool: The texts.
        store: The directory of runs; the cache lies in it.
    """
    key = content_key(
        {
            "schema": SCHEMA_VERSION,
            "format": FORMAT,
            "teacher": content_hash(source),
            "texts": pool.fingerprint,
            "hidden": layout.hidden,
            "vectors": layout.vectors,
            "scores": layout.scores,
            "bf16": layout.bf16,
            "device": device(),
            "versions": describe().versions,
            "batches": [BATCH_SIZE, SHARD_BYTES],
        }
    )
    return StateCache(store / TEACHER_CACHE / f"states-{key}", source, comparisons, layout, pool)


def _compute(
    teach: Teach, pool: Pool, texts: range, layout: Layout, *, tokenizer: PreTrainedTokenizerBase
) -> NDArray[Any]:
    """All numbers of some texts, one text after the other."""
    found: list[NDArray[Any]] = []
    for start in range(0, len(texts), BATCH_SIZE):
        batch = pad_rows(pool.fetch(texts[start : start + BATCH_SIZE]), tokenizer=tokenizer)
        states = teach({name: tensor.to(device()) for name, tensor in batch.items()})
        vectors = [states.vectors[layer][name] for layer, name in layout.vectors]
        planes = [as_array(each) for each in (*(states.hidden[layer] for layer in layout.hidden), *vectors)]
        cells = [as_array(states.scores[layer]) for layer in layout.scores]
        for place, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
            span = slice(length)  # padding follows
            found += [each[place, span].ravel() for each in planes]
            found += [each[place, :, span, span].ravel() for each in cells]
    numbers = np.concatenate(found)
    expected = layout.count(pool.lengths[texts.start : texts.stop]).sum()
    if len(numbers) != expected or numbers.dtype != layout.dtype:
        raise RuntimeError(
            f"the teacher's states are {len(numbers)} {numbers.dtype}, not {expected} {layout.dtype}"
        )
    return numbers


def _cut(counts: NDArray[np.int64], *, most: int) -> list[range]:
    """Texts in a row that have at most so many numbers together, or are one alone."""
    ends = np.cumsum(counts)
    parts, begin = [], 0
    while begin < len(counts):
        room = most + (ends[begin - 1] if begin else 0)
        end = max(begin + 1, int(np.searchsorted(ends, room, side="right")))
        parts.append(range(begin, end))
        begin = end
    return parts
