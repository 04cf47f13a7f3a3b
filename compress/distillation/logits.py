"""Distillation from the teacher's outputs alone: Hinton et al. 2015."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compress.data.task_data import Split, TaskData, hold_out_rows
from compress.distillation.cache import cached_logits
from compress.encoder import Encoder
from compress.errors import CompressError
from compress.evaluation import align_labels, predict_split, primary_score
from compress.inference import Predictor
from compress.losses.soft_targets import soft_cross_entropy, soft_regression
from compress.losses.task import task_loss
from compress.recipes.methods import Logits
from compress.recipes.stages import Distill
from compress.statistics import best_constant_score
from compress.tasks import Task
from compress.training import Batch, Examples, Objective, Outcome, train

logger = logging.getLogger(__name__)


class LogitsObjective(Objective):
    """Soft labels at a temperature, mixed with the task's own loss.

    Args:
        method: Temperature and the weights of the two terms.
    """

    def __init__(self, method: Logits) -> None:
        super().__init__()
        self.method = method

    def forward(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms whose weight is not 0; the soft one of a regression is the error to the teacher's score."""
        terms = {}
        if self.method.soft_weight:
            teacher = batch["teacher_logits"].to(logits.dtype)
            if batch["labels"].is_floating_point():
                soft = soft_regression(logits, teacher)
            else:
                soft = soft_cross_entropy(logits, teacher, temperature=self.method.temperature)
            terms["soft"] = self.method.soft_weight * soft
        if self.method.hard_weight:
            terms["hard"] = self.method.hard_weight * task_loss(logits, batch["labels"])
        return terms


@dataclass(frozen=True)
class Taught:
    """How training went, how good the teacher was on the hold-out, and how long it took to answer the train split."""

    outcome: Outcome
    teacher_score: float
    teacher_seconds: float

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {
            **self.outcome.facts,
            "teacher_holdout_score": self.teacher_score,
            "teacher_seconds": round(self.teacher_seconds, 1),
        }


def distill_logits(
    student: Encoder,
    teacher: Predictor,
    data: TaskData,
    stage: Distill,
    *,
    seed: int,
    teacher_seed: int,
    source: Path,
    store: Path,
    directory: Path,
    checkpoints: Path,
) -> Taught:
    """Teach a student, in place, what its teacher answers on the train split.

    The teacher is gated on the hold-out first, before the hours of work. Then it answers each text of the train
    split once, without dropout, or has answered before: the answers are cached.

    Args:
        student: Its classifier has the task's labels.
        teacher: Fine-tuned on the task; labels are matched by name.
        data: The task's examples.
        stage: How.
        seed: Of the hold-out, the batches and the dropout.
        teacher_seed: Of the teacher's hold-out, on which it is gated: rows that it has not learned.
        source: The directory that the teacher was loaded from.
        store: The directory of runs; the teacher's answers are kept in it.
        directory: Where the history goes.
        checkpoints: Where to resume from.

    Raises:
        CompressError: The teacher is no better than a constant, or its labels are not the task's.
    """
    rest, held = hold_out_rows(len(data.train), seed=seed)
    watched = data.train.select(held, name="holdout")
    if stage.select_on == "validation":
        rest, watched = np.arange(len(data.train)), data.validation[0]
    held_examples = _with_answers(teacher, data.task, watched)
    unseen = held_examples
    if teacher_seed != seed:
        _, rows = hold_out_rows(len(data.train), seed=teacher_seed)
        unseen = _with_answers(teacher, data.task, data.train.select(rows, name="holdout"))
    score = gate_teacher(data.task, unseen, allow_weak=stage.allow_weak_teacher)
    logger.info("  the teacher scores %.4f on the hold-out", score)
    started = time.monotonic()
    answers = cached_logits(teacher, source, data.train, store=store)
    teacher_seconds = time.monotonic() - started
    order = align_labels(teacher.labels, data.task)
    outcome = train(
        student,
        data.task,
        LogitsObjective(stage.method),
        examples=Examples(data.train.select(rest, name="train"), {"teacher_logits": answers[rest][:, order]}),
        holdout=held_examples,
        training=stage.training,
        seed=seed,
        directory=directory,
        checkpoints=checkpoints,
    )
    return Taught(outcome, score, teacher_seconds)


def gate_teacher(task: Task, held: Examples, *, allow_weak: bool) -> float:
    """The teacher's score on the hold-out, if it beats the best constant answer.

    Raises:
        CompressError: It does not, and neither the user nor the task allows that.
    """
    labels = held.split.labels
    score = primary_score(task, held.columns["teacher_logits"], labels)
    constant = best_constant_score(task.primary_metric, labels)  # type: ignore[arg-type]
    if score > constant:
        return score
    finding = (
        f"The teacher's {task.primary_metric} on the hold-out ({len(labels)} rows of train) is {score:.4f}; "
        f"the best constant answer has {constant:.4f}."
    )
    if not (allow_weak or task.weak_teacher_allowed):
        raise CompressError(
            f"{finding} It has nothing to teach.",
            "Fine-tune it longer or at another rate (compress finetune), or go on with --allow-weak-teacher.",
        )
    exempt = f"hardly any model beats it on {task.name}" if task.weak_teacher_allowed else "as you allowed"
    logger.warning("%s Going on: %s.", finding, exempt)
    return score


def _with_answers(teacher: Predictor, task: Task, split: Split) -> Examples:
    logits, _ = predict_split(teacher, task, split)
    return Examples(split, {"teacher_logits": logits.astype(np.float32)})
