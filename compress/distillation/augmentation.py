"""A train split and its augmented copies, made once and kept: TinyBERT's augmentation (Jiao et al. 2020, section 3.2).

Copies are kept in shards of rows in the store, under a hash of all that decides them. A build that was cut off goes
on; a damaged shard is made again. What the fine-tuned teacher thinks of each copy is kept beside it, so that another
threshold asks nobody again.
"""

import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compress.data.augmentation import augment_rows, enlarge
from compress.data.checking import Texts
from compress.data.task_data import Split
from compress.distillation.candidates import BATCH_SIZE, PASSES, load_candidates
from compress.distillation.shards import is_whole, write_shard
from compress.environment import describe
from compress.errors import InvalidInputError
from compress.inference import Predictor
from compress.processes import is_main, wait
from compress.recipes.methods import Augmentation
from compress.runs import AUGMENTATION_CACHE, SCHEMA_VERSION, content_key
from compress.sources import content_hash
from compress.storage import holding, telling_failed_writes

logger = logging.getLogger(__name__)

SHARD_ROWS = 2048
RULES = 1
"""Counted up when the same draws would make other texts: which words are replaced, and by what."""
ONE, PAIR = ("text",), ("text_a", "text_b")
"""Columns of texts and of pairs; beside them lie `origin` and, where the teacher was asked, `confidence`."""
KIND = b"candidates"


@dataclass(frozen=True)
class Augmented:
    """An enlarged train split, and how it came about.

    Attributes:
        split: The originals in their order, then the copies; labels are those of the originals.
        origin: The row that each stems from, `[N']`, so that copies of the hold-out's rows can be left out.
        candidates: Where they came from, "masked-lm" or "embeddings"; None without copies.
        duplicates: Copies dropped because the same text was there already.
        unconfident: Copies dropped because the teacher was in doubt.
        made: Copies made just now, before those that other rows have were dropped; 0 where all were cached.
        seconds: How long that took.
    """

    split: Split
    origin: NDArray[np.int64]
    candidates: str | None = None
    duplicates: int = 0
    unconfident: int = 0
    made: int = 0
    seconds: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run; none without copies."""
        if self.candidates is None:
            return {}
        return {
            "augmented_copies": len(self.origin) - len(np.unique(self.origin)),
            "augmentation_candidates": self.candidates,
            "augmentation_duplicates": self.duplicates,
            "augmentation_unconfident": self.unconfident,
            "augmentation_seconds": round(self.seconds, 1),
            "augmentation_per_second": round(self.made / self.seconds, 1) if self.made else None,
        }


@dataclass(frozen=True)
class _Plan:
    """What decides the copies, all but the models themselves; `teacher` is where the one that is asked lies."""

    split: Split
    recipe: Augmentation
    copies: int
    source: Path
    seed: int
    passes: int | None
    teacher: Path | None


def augmented(
    split: Split,
    recipe: Augmentation,
    *,
    copies: int,
    source: Path,
    seed: int,
    store: Path,
    teacher: Predictor | None = None,
    teacher_source: Path | None = None,
    passes: int | None = PASSES,
) -> Augmented:
    """A train split with its copies, from the cache or made into it.

    A second process that wants the same waits for the first. A pair is copied `copies` times on either side, the
    other as it was, as in the published code.

    Args:
        split: The whole train split, the hold-out's rows included: the cache then serves every hold-out.
        recipe: How words are replaced.
        copies: How often an example is copied; `recipe.copies_on(task)`.
        source: The directory of the model that gives candidates: its MLM head, or its word table if it has none.
        seed: Of the draws.
        store: The directory of runs; the cache lies in it.
        teacher: Fine-tuned; asked only where the recipe has a `min_confidence`.
        teacher_source: The directory that the teacher was loaded from.
        passes: As in `compress.distillation.candidates.MaskedWords`.

    Raises:
        InvalidInputError: A confidence is asked for and there is no teacher, or one of a regression.
        CompressError: The cache cannot be written, or the model that gives candidates cannot be loaded.
    """
    if copies == 0:
        return Augmented(split, np.arange(len(split)))
    asked = recipe.min_confidence is not None
    if asked:
        _require_classifier(teacher, teacher_source)
    plan = _Plan(split, recipe, copies, source, seed, passes, teacher_source if asked else None)
    started = time.monotonic()
    folder = store / AUGMENTATION_CACHE / _key(plan, teacher)
    files = [_file(folder, start) for start in range(0, len(split), SHARD_ROWS)]
    made = _make_missing(folder, files, plan, teacher) if is_main() else 0
    wait()
    return _assemble(plan, [pq.read_table(file) for file in files], made=made, started=started)


def _require_classifier(teacher: Predictor | None, source: Path | None) -> None:
    if teacher is None or source is None:
        raise InvalidInputError(
            "min_confidence keeps copies of which the fine-tuned teacher is sure, and there is no teacher here.",
            "Leave min_confidence out, or distil from a teacher.",
        )
    if teacher.labels is None:
        raise InvalidInputError(
            f"min_confidence asks for the probability of a class, and {source} answers with a score (a regression).",
            "Leave min_confidence out.",
        )


def _key(plan: _Plan, teacher: Predictor | None) -> str:
    """A hash over the data, the recipe, the files that give candidates, and the teacher where it is asked.

    The threshold is no part of it: it chooses among what is kept.
    """
    judge = None
    if plan.teacher is not None and teacher is not None:
        judge = [content_hash(plan.teacher), teacher.max_length, teacher.engine.name, teacher.engine.device]
    environment = describe()
    return content_key(
        {
            "schema": [SCHEMA_VERSION, RULES],
            "data": plan.split.fingerprint,
            "recipe": [plan.copies, plan.recipe.replace_probability, plan.recipe.candidates],
            "seed": plan.seed,
            "source": content_hash(plan.source),
            "teacher": judge,
            "device": environment.device,
            "versions": environment.versions,
            "batches": [SHARD_ROWS, BATCH_SIZE, plan.passes],
        }
    )


def _file(folder: Path, start: int) -> Path:
    return folder / f"copies-{start // SHARD_ROWS:05d}.parquet"


def _make_missing(folder: Path, files: Sequence[Path], plan: _Plan, teacher: Predictor | None) -> int:
    """Make the shards that are not whole.

    Returns:
        The number of copies made.
    """
    made = 0
    with holding(folder, busy="augments the texts"), telling_failed_writes(folder):
        missing = [number for number, file in enumerate(files) if not is_whole(file)]
        if not missing:
            return made
        candidates = load_candidates(plan.source, count=plan.recipe.candidates, passes=plan.passes)
        logger.info("  augmenting %d of %d shards (%s)", len(missing), len(files), candidates.kind)
        for number in missing:
            first = number * SHARD_ROWS
            texts, origin = augment_rows(
                plan.split.texts[first : first + SHARD_ROWS],
                plan.recipe,
                copies=plan.copies,
                first=first,
                seed=plan.seed,
                candidates=candidates,
            )
            columns = _columns_of(texts, pairs=isinstance(plan.split.texts[0], tuple))
            columns["origin"] = pa.array(origin, pa.int64())
            if plan.teacher is not None and teacher is not None:
                scores = [prediction.score for prediction in teacher.predict(texts)]
                columns["confidence"] = pa.array(scores, pa.float32())
            _write_shard(files[number], pa.table(columns, metadata={KIND: candidates.kind}))
            made += len(texts)
    return made


def _write_shard(file: Path, table: pa.Table) -> None:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    write_shard(file, content.getvalue(), rows=table.num_rows)


def _columns_of(texts: Texts, *, pairs: bool) -> dict[str, pa.Array]:
    if not pairs:
        return {ONE[0]: pa.array(texts, pa.string())}
    return {name: pa.array([pair[side] for pair in texts], pa.string()) for side, name in enumerate(PAIR)}


def _texts_of(table: pa.Table) -> Texts:
    if ONE[0] in table.column_names:
        return table[ONE[0]].to_pylist()  # type: ignore[no-any-return]
    return list(zip(*(table[name].to_pylist() for name in PAIR), strict=True))


def _assemble(plan: _Plan, shards: Sequence[pa.Table], *, made: int, started: float) -> Augmented:
    table = pa.concat_tables(shards)
    confident = table
    if plan.recipe.min_confidence is not None:
        confident = table.filter(pc.greater_equal(table["confidence"], plan.recipe.min_confidence))
    whole = enlarge(plan.split, _texts_of(confident), confident["origin"].to_numpy())
    sides = 2 if isinstance(plan.split.texts[0], tuple) else 1
    unconfident = table.num_rows - confident.num_rows
    kept = len(whole.split) - len(plan.split)
    return Augmented(
        whole.split,
        whole.origin,
        candidates=shards[0].schema.metadata[KIND].decode(),
        duplicates=len(plan.split) * sides * plan.copies - unconfident - kept,
        unconfident=unconfident,
        made=made,
        seconds=time.monotonic() - started,
    )
