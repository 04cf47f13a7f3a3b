"""The teacher's answers on disk: computed once, kept in shards, memory-mapped.

A teacher is frozen and in eval mode, and the texts of a task do not change between epochs, seeds or students; so
neither do its answers. They are kept under a hash of all that decides them. Each shard has a record with its sum,
written after it: a build that was cut off goes on, and a damaged shard is found and made again, to the same bits, since
a shard's batches depend on nothing outside it.
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.data.task_data import Split
from compress.distillation.shards import is_whole, write_shard
from compress.environment import describe
from compress.inference import Predictor
from compress.processes import is_main, wait
from compress.recipes.values import Frozen
from compress.runs import SCHEMA_VERSION, TEACHER_CACHE, content_key, write_record
from compress.sources import content_hash
from compress.storage import holding, telling_failed_writes

logger = logging.getLogger(__name__)

SHARD_ROWS = 8192
BATCH_SIZE = 32
ABOUT_FILE = "about.json"


class About(Frozen):
    """What a cache holds, for people; its directory's name is the hash of what decides it."""

    schema_version: int = SCHEMA_VERSION
    teacher: str
    split: str
    rows: int
    max_length: int


class ShardedArray:
    """An array `[N, …]` that lies on disk in shards of equally many rows; only what is asked for is read.

    Args:
        shards: Memory-mapped; all have `[SHARD_ROWS, …]` but the last, which may be shorter.
    """

    def __init__(self, shards: Sequence[NDArray[np.float32]]) -> None:
        self.shards = shards
        self._row_shape = shards[0].shape[1:]

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    def __getitem__(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of the given numbers, in their order, in memory."""
        wanted = np.asarray(rows, dtype=np.int64)
        homes, places = np.divmod(wanted, len(self.shards[0]))
        found = np.empty((len(wanted), *self._row_shape), dtype=np.float32)
        for home in np.unique(homes):
            here = homes == home
            found[here] = self.shards[home][places[here]]
        return found


def cached_logits(teacher: Predictor, source: Path, split: Split, *, store: Path) -> ShardedArray:
    """The teacher's logits `[N, C]` for a split, in the teacher's own order of labels.

    What is whole in the cache is taken; what is missing or damaged is computed into it. A second process that wants
    the same waits for the first.

    Args:
        teacher: In eval mode, frozen.
        source: The directory that it was loaded from.
        split: The texts.
        store: The directory of runs; the cache lies in it.

    Raises:
        CompressError: The cache cannot be written.
    """
    folder = store / TEACHER_CACHE / cache_key(teacher, source, split)
    starts = range(0, len(split), SHARD_ROWS)
    if is_main():
        with holding(folder, busy="computes the teacher's answers"), telling_failed_writes(folder):
            missing = [start for start in starts if not is_whole(_file(folder, start))]
            if missing:
                about = About(
                    teacher=source.name, split=split.name, rows=len(split), max_length=teacher.max_length
                )
                write_record(folder / ABOUT_FILE, about)
                logger.info(
                    "  the teacher answers %d of %d shards of %s", len(missing), len(starts), split.name
                )
            for start in missing:
                texts = split.texts[start : start + SHARD_ROWS]
                _write_shard(folder, start, teacher.logits(texts, batch_size=BATCH_SIZE)[0])
    wait()
    return ShardedArray([np.load(_file(folder, start), mmap_mode="r") for start in starts])


def cache_key(teacher: Predictor, source: Path, split: Split) -> str:
    """A hash over the teacher's files, the tokenizer's among them, the data, the truncation and the engine."""
    environment = describe()
    return content_key(
        {
            "schema": SCHEMA_VERSION,
            "teacher": content_hash(source),
            "data": split.fingerprint,
            "max_length": teacher.max_length,
            "engine": teacher.engine.name,
            "device": teacher.engine.device,
            "versions": environment.versions,
            "batches": [BATCH_SIZE, SHARD_ROWS],
        }
    )


def _file(folder: Path, start: int) -> Path:
    return folder / f"logits-{start // SHARD_ROWS:05d}.npy"


def _write_shard(folder: Path, start: int, rows: NDArray[np.float32]) -> None:
    content = io.BytesIO()
    np.save(content, rows)
    write_shard(_file(folder, start), content.getvalue(), rows=len(rows))
