"""How a stage hears what its teacher's layers say: from a teacher beside the student, or from what it said before."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from compress.data.batching import Examples, WithColumn
from compress.distillation.capture import Needs
from compress.distillation.kept_states import Layout, lay_out
from compress.distillation.objective import Comparison, Teach, teacher_needs
from compress.distillation.pool import ROW, find_wholes, pool_texts
from compress.distillation.state_cache import locate_states
from compress.distillation.teachers import KNOWN, Head, load_teacher, runs_to_its_top
from compress.encoder import load_config
from compress.processes import world_size
from compress.recipes.values import Training
from compress.storage import bytes_below, require_space, show_bytes

logger = logging.getLogger(__name__)

FEWEST_PASSES = 2
"""Over the texts: what is read once only is not worth writing."""
MOST_BYTES = 8 << 30
"""That are kept of one teacher's states for one set of texts. How much of the disk is free decides nothing: the two ways
agree to rounding only, and one command ends in the same weights each time."""


@dataclass(frozen=True)
class Lesson:
    """What a stage learns from.

    Attributes:
        teach: What the teacher's layers say of a batch of these examples; None where nobody asks.
        examples: What is learned.
        holdout: What is only looked at.
        states: Where `teach` has it from.
        answers: Whether the teacher answers to the task as well.
    """

    teach: Teach | None
    examples: Examples
    holdout: Examples
    states: Literal["cached", "online"] | None
    answers: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {"teacher_states": self.states} if self.states else {}


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
    reserve: int = 0,
    order: Sequence[int] | None = None,
) -> Lesson:
    """Ask the teacher for its states beforehand where that pays, else in each step.

    In each step it answers to the task, too, where it may and the terms look at its last layer anyway.

    Args:
        source: The directory of the teacher's weights.
        comparisons: The terms.
        examples: What is learned.
        holdout: What is only looked at.
        tokenizer: Pads the texts.
        training: The schedule; its `bf16` is decided.
        masked_lm: Whether words are hidden, anew each epoch, and the MLM head's logits asked for.
        store: The directory of runs; the cache lies in it.
        reserve: Bytes that training will need there besides.
        order: For each of the task's labels the place of the teacher's logit; None where it may not answer, as where
            others answer with it.

    Raises:
        CompressError: The disk has no room for the cache, or it cannot be written.
    """
    needs, bf16 = teacher_needs(comparisons, answers=masked_lm), bool(training.bf16)
    if needs == Needs():
        return Lesson(None, examples, holdout, None)
    config = load_config(source)
    layout = lay_out(comparisons, config, bf16=bf16)
    objection = (
        ("words are hidden anew each epoch" if masked_lm else None)
        or _object_to_models(config, tokenizer)
        or _object_to_size(layout, (examples, holdout), training)
    )
    if objection:
        logger.info("  the teacher runs beside the student: %s", objection)
        answers = order is not None and runs_to_its_top(config, comparisons)
        head: Head | None = "masked_lm" if masked_lm else "classifier" if answers else None
        teach = load_teacher(source, comparisons, head=head, bf16=bf16, order=order if answers else None)
        return Lesson(teach, examples, holdout, "online", answers=answers)
    pool = pool_texts(examples, holdout)
    cache = locate_states(source, comparisons, layout, pool, store=store)
    passes = round(_passes(training, len(examples)), 1)
    logger.info(
        "  the teacher's states are cached (%s): each is read %g times", show_bytes(cache.bytes), passes
    )
    require_space(cache.folder, cache.bytes - bytes_below(cache.folder) + reserve)
    learned, watched = (
        WithColumn(each, ROW, places) for each, places in zip((examples, holdout), pool.places, strict=True)
    )
    return Lesson(cache.open(tokenizer), learned, watched, "cached")


def _object_to_models(teacher: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why states of a text would not be the same in another batch, or not be of a size that is known."""
    if teacher.model_type not in KNOWN:
        return f"the sizes inside a model of type {teacher.model_type!r} are not known here"
    if tokenizer.padding_side == "left":
        return "the tokenizer pads on the left, so that a token's position depends on its batch"
    return None


def _object_to_size(layout: Layout, sets: Sequence[Examples], training: Training) -> str | None:
    """Why states would be too many to keep, or read too rarely."""
    passes = _passes(training, len(sets[0]))
    if passes < FEWEST_PASSES:
        return f"{passes:.2g} passes over the texts are too few to keep its states"
    needed = (
        sum(int(layout.count(whole.lengths).sum()) for whole in find_wholes(*sets)) * layout.dtype.itemsize
    )
    if needed > MOST_BYTES:
        return f"its states would take {show_bytes(needed)}, and {show_bytes(MOST_BYTES)} is the most that is kept"
    return None


def _passes(training: Training, rows: int) -> float:
    """How often training comes to each text, at the most."""
    if training.max_steps <= 0:
        return training.num_train_epochs
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * world_size()
    return training.max_steps * batch / rows
