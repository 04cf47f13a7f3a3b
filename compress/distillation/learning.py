"""What all stages of distillation share: a student learns what terms compare, on examples, beside its teacher."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from compress.data.batching import Examples, Selection, pad_rows
from compress.data.task_data import TaskData, hold_out_rows, tokenize_split
from compress.distillation.augmentation import Augmented
from compress.distillation.capture import recording
from compress.distillation.objective import (
    DistillationObjective,
    compare_models,
    describe_comparison,
    student_needs,
)
from compress.distillation.teaching import prepare_lesson
from compress.encoder import load_config
from compress.processes import is_main
from compress.recipes.stages import Distill, General, Intermediate
from compress.runs import PROJECTIONS_FILE
from compress.tasks import Task
from compress.training import Collate, Pupil, room_for, train

logger = logging.getLogger(__name__)


def learn_texts(
    pupil: Pupil,
    teacher: Path,
    stage: Intermediate | Distill,
    data: TaskData,
    texts: Augmented,
    *,
    said: NDArray[np.float32] | None = None,
    seen: NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Move a student towards its teacher, on the texts of a task but those of the hold-out, which are the last stage's.

    Args:
        pupil: Has the head that the terms ask for.
        teacher: The directory of the weights that terms look into.
        stage: Its terms and its schedule. Where the student answers the task afterwards the task's metric decides on
            the hold-out, else the loss does.
        data: The task's examples.
        texts: The train split, augmented perhaps.
        said: What teachers answer to the texts, `[N', T, C]`.
        seen: What they answer to the validation split, where that is what decides.

    Returns:
        Facts for the run's record.
    """
    tokenizer = pupil.encoder.tokenizer
    tokenized = partial(tokenize_split, tokenizer=tokenizer, max_length=stage.training.max_length)
    whole = tokenized(texts.split, columns=_columns(said))
    examples: Examples = whole
    if stage.select_on == "validation":
        holdout: Examples = tokenized(data.validation[0], columns=_columns(seen))
    else:
        _, held = hold_out_rows(len(data.train), seed=pupil.seed)
        examples = Selection(whole, np.flatnonzero(~np.isin(texts.origin, held)))
        holdout = Selection(whole, held)  # the originals come first
    facts = learn(
        pupil,
        teacher,
        stage,
        examples=examples,
        holdout=holdout,
        collate=partial(pad_rows, tokenizer=tokenizer),
        task=data.task if isinstance(stage, Distill) else None,
    )
    return {**facts, "truncated_training_texts": whole.truncated}


def _columns(answers: NDArray[np.float32] | None) -> dict[str, NDArray[np.float32]]:
    return {} if answers is None else {"teacher_logits": answers}


def learn(
    pupil: Pupil,
    teacher: Path,
    stage: General | Intermediate | Distill,
    *,
    examples: Examples,
    holdout: Examples,
    collate: Collate,
    task: Task | None = None,
) -> dict[str, Any]:
    """Move a student towards its teacher.

    Args:
        pupil: Has the head that the terms ask for. Projections that lie where it comes from are gone on with, and
            where another stage goes on with it they are left beside it.
        teacher: The directory of the weights that terms look into.
        stage: Its terms and its schedule.
        examples: What is learned; with what teachers answered, where terms compare answers to a task.
        holdout: What decides which weights are kept.
        collate: Makes a batch of rows.
        task: Its metric decides on the hold-out; without one the loss does.

    Returns:
        Facts for the run's record.
    """
    student, place = pupil.encoder, pupil.place
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
        reserve=room_for(student.parameters, place.checkpoints),
    )
    objective = DistillationObjective(
        comparisons,
        student=student.model.config,
        teacher=theirs,
        teach=lesson.teach,
        teacher_weights=stage.teacher_weights if isinstance(stage, Distill) else (1.0,),
        seed=pupil.seed,
    )
    taken = _take_over(objective, pupil.before) if pupil.before else []
    with recording(student.model, student_needs(comparisons)):
        outcome = train(
            pupil,
            objective,
            examples=lesson.examples,
            holdout=lesson.holdout,
            collate=collate,
            task=task,
            training=stage.training,
        )
    if is_main() and not isinstance(stage, Distill) and (projections := objective.state_dict()):
        save_file(projections, place.directory / PROJECTIONS_FILE)
    gone_on = {"projections_gone_on_with": taken} if taken else {}
    terms = {each.name: each.detail for each in comparisons}
    return {**outcome.facts, **lesson.facts, **gone_on, "terms": terms}


def _take_over(objective: DistillationObjective, before: Path) -> list[str]:
    """Go on with the projections of the stage before, those that are of the same widths.

    TinyBERT's are a part of its student, so that they go from stage to stage with it.

    Returns:
        Their names.
    """
    file = before / PROJECTIONS_FILE
    if not file.is_file():
        return []
    own, found = objective.state_dict(), load_file(file)
    taken = {
        name: tensor for name, tensor in found.items() if name in own and own[name].shape == tensor.shape
    }
    objective.load_state_dict({**own, **taken})
    return sorted({name.split(".")[1] for name in taken})
