"""How a stage hears what its teacher's layers say: from a teacher beside the student, or from what it said before."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from compress.checkpoints import find_newest
from compress.data.batching import Examples
from compress.distillation.kept_states import Layout, lay_out
from compress.distillation.objective import Comparison, Teach
from compress.distillation.pool import Located, pool_texts
from compress.distillation.state_cache import StateCache, locate_states
from compress.distillation.teachers import load_teacher
from compress.encoder import load_config
from compress.processes import is_main, wait, world_size
from compress.recipes.values import Frozen, Training
from compress.runs import SCHEMA_VERSION, read_record, write_record
from compress.storage import bytes_below, free_bytes, show_bytes

logger = logging.getLogger(__name__)

FEWEST_PASSES = 2
"""Over the texts: what is read once only is not worth writing."""
MOST_BYTES = 8 << 30
CHOICE_FILE = "teacher-states.json"

States = Literal["cached", "online"]


class Choice(Frozen):
    """What a run has settled on; it lies among its checkpoints, and goes with them.

    The two agree to rounding only, so that a run which is resumed on a fuller disk must not change over.
    """

    schema_version: int = SCHEMA_VERSION
    teacher_states: States


@dataclass(frozen=True)
class Lesson:
    """What a stage learns from.

    Attributes:
        teach: What the teacher says of a batch of these examples.
        examples: What is learned.
        holdout: What is only looked at.
        states: Where `teach` has it from.
    """

    teach: Teach
    examples: Examples
    holdout: Examples
    states: States

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {"teacher_states": self.states}


def prepare_lesson(
    source: Path,
    comparisons: tuple[Comparison, ...],
    examples: Examples,
    holdout: Examples,
    *,
    tokenizer: PreTrainedTokenizerBase,
    training: Training,
    masked_lm: bool,
    store: Path,
    checkpoints: Path,
) -> Lesson:
    """Ask the teacher for its states beforehand where that pays and there is room for them, else in each step.

    Args:
        source: The directory of the teacher's weights.
        comparisons: The terms.
        examples: What is learned.
        holdout: What is only looked at.
        tokenizer: Pads the texts.
        training: The schedule; its `bf16` is decided.
        masked_lm: Whether words are hidden, anew each epoch, and the MLM head's logits asked for.
        store: The directory of runs; the cache lies in it.
        checkpoints: Of the run: one that is resumed stays with what it began with.

    Raises:
        CompressError: The cache cannot be written.
    """
    bf16 = bool(training.bf16)
    layout = lay_out(comparisons, load_config(source), bf16=bf16)
    objection = _object(layout, (examples, holdout), training, masked_lm=masked_lm)
    if objection is None:
        pool = pool_texts(examples, holdout)
        cache = locate_states(source, comparisons, layout, pool, store=store)
        if is_main():
            _settle(cache, checkpoints)
        wait()
        if read_record(checkpoints / CHOICE_FILE, Choice).teacher_states == "cached":
            logger.info(
                "  the teacher's states are cached (%s): each is read %g times",
                show_bytes(cache.bytes),
                round(_passes(training, len(examples)), 1),
            )
            learned, watched = (
                Located(each, places) for each, places in zip((examples, holdout), pool.places, strict=True)
            )
            return Lesson(cache.open(tokenizer), learned, watched, "cached")
        objection = f"there is, or was when the run began, no room for {show_bytes(cache.bytes)} of states"
    logger.info("  the teacher runs beside the student: %s", objection)
    teach = load_teacher(source, comparisons, masked_lm=masked_lm, bf16=bf16)
    return Lesson(teach, examples, holdout, "online")


def _object(layout: Layout, sets: Sequence[Examples], training: Training, *, masked_lm: bool) -> str | None:
    """Why states should not be kept, as far as recipe and texts tell."""
    if masked_lm:
        return "words are hidden anew each epoch"
    passes = _passes(training, len(sets[0]))
    if passes < FEWEST_PASSES:
        return f"{passes:.2g} passes over the texts are too few to keep its states"
    needed = sum(int(layout.count(each.lengths).sum()) for each in sets) * layout.dtype.itemsize
    if needed == 0:
        return "no term compares its layers"
    if needed > MOST_BYTES:
        return f"its states would take {show_bytes(needed)}, and {show_bytes(MOST_BYTES)} is the most that is kept"
    return None


def _settle(cache: StateCache, checkpoints: Path) -> None:
    """Write down whether the states are kept: as the run began, or else if they fit into half of the free disk."""
    file = checkpoints / CHOICE_FILE
    if find_newest(checkpoints) is None:
        free = free_bytes(cache.folder) + bytes_below(cache.folder)
        choice: States = "cached" if cache.bytes <= free / 2 else "online"
    else:
        choice = read_record(file, Choice).teacher_states if file.exists() else "online"
    write_record(file, Choice(teacher_states=choice))


def _passes(training: Training, rows: int) -> float:
    """How often training comes to each text, at the most."""
    if training.max_steps <= 0:
        return training.num_train_epochs
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * world_size()
    return training.max_steps * batch / rows
