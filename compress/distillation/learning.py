"""What all stages of distillation share: a student learns what terms compare, on examples, beside its teacher."""

import logging
from pathlib import Path
from typing import Any

from compress.data.batching import Examples
from compress.distillation.capture import recording
from compress.distillation.objective import (
    DistillationObjective,
    compare_models,
    describe_comparison,
    student_needs,
)
from compress.distillation.teaching import prepare_lesson
from compress.encoder import Encoder, load_config
from compress.recipes.stages import Distill, General, Intermediate
from compress.tasks import Task
from compress.training import Collate, Place, train

logger = logging.getLogger(__name__)


def learn(
    student: Encoder,
    teacher: Path,
    stage: General | Intermediate | Distill,
    *,
    examples: Examples,
    holdout: Examples,
    collate: Collate,
    seed: int,
    place: Place,
    task: Task | None = None,
) -> dict[str, Any]:
    """Move a student, in place, towards its teacher.

    Args:
        student: Its model has the head that the terms ask for.
        teacher: The directory of the weights that terms look into.
        stage: Its terms and its schedule.
        examples: What is learned; with what teachers answered, where terms compare answers to a task.
        holdout: What decides which weights are kept.
        collate: Makes a batch of rows.
        seed: Of the projections, the batches and the dropout.
        place: Where to work.
        task: Its metric decides on the hold-out; without one the loss does.

    Returns:
        Facts for the run's record.
    """
    theirs = load_config(teacher)
    comparisons = compare_models(stage.terms, student=student.model.config, teacher=theirs)
    for each in comparisons:
        logger.info("  %s", describe_comparison(each))
    lesson = prepare_lesson(
        teacher,
        comparisons,
        examples,
        holdout,
        tokenizer=student.tokenizer,
        training=stage.training,
        masked_lm=isinstance(stage, General) and stage.masking is not None,
        store=place.store,
    )
    objective = DistillationObjective(
        comparisons,
        student=student.model.config,
        teacher=theirs,
        teach=lesson.teach,
        teacher_weights=stage.teacher_weights if isinstance(stage, Distill) else (1.0,),
        seed=seed,
    )
    with recording(student.model, student_needs(comparisons)):
        outcome = train(
            student,
            objective,
            examples=lesson.examples,
            holdout=lesson.holdout,
            collate=collate,
            task=task,
            training=stage.training,
            seed=seed,
            place=place,
        )
    terms = {each.name: each.detail for each in comparisons}
    return {**outcome.facts, **lesson.facts, "terms": terms}
