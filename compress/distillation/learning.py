"""What all stages of distillation share: a student learns what terms compare, on examples, beside its teacher."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from compress.data.batching import Examples, Selection, WithColumn, pad_rows
from compress.data.task_data import Split, TaskData, hold_out_rows, tokenize_split
from compress.distillation.augmentation import Augmented
from compress.distillation.capture import recording
from compress.distillation.objective import (
    DistillationObjective,
    compare_models,
    describe_comparison,
    student_needs,
    teacher_needs,
)
from compress.distillation.teaching import prepare_lesson
from compress.encoder import load_config
from compress.engines import Logits
from compress.processes import is_main
from compress.recipes.stages import Distill, General, Intermediate
from compress.runs import PROJECTIONS_FILE
from compress.tasks import Task
from compress.training import Collate, Pupil, room_for, train

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """How teachers of a task answer.

    Attributes:
        ask: Answers to a split, `[N, T, C]`: known from before, or computed and kept.
        order: For each of the task's labels the place of its logit, where the teacher may answer beside the student
            instead; None where it may not, as where others answer with it.
    """

    ask: Callable[[Split], Logits]
    order: Sequence[int] | None


def learn_texts(
    pupil: Pupil,
    teacher: Path,
    stage: Intermediate | Distill,
    data: TaskData,
    texts: Augmented,
    *,
    answers: Answers | None = None,
) -> dict[str, Any]:
    """Move a student towards its teacher, on the texts of a task but those of the hold-out, which are the last stage's.

    Args:
        pupil: Has the head that the terms ask for.
        teacher: The directory of the weights that terms look into.
        stage: Its terms and its schedule. Where the student answers the task afterwards the task's metric decides on
            the hold-out, else the loss does.
        data: The task's examples.
        texts: The train split, augmented perhaps.
        answers: Of teachers, where terms compare those.

    Returns:
        Facts for the run's record.
    """
    tokenizer = pupil.encoder.tokenizer
    tokenized = partial(tokenize_split, tokenizer=tokenizer, max_length=stage.training.max_length)
    whole, selecting = tokenized(texts.split), data.validation[0]
    _, held = hold_out_rows(len(data.train), seed=pupil.seed)
    learned = np.flatnonzero(~np.isin(texts.origin, held))
    examples: Examples = whole
    if stage.select_on == "validation":
        holdout: Examples = tokenized(selecting)
    else:
        examples, holdout = Selection(whole, learned), Selection(whole, held)  # the originals come first

    def ask_for_both(ask: Callable[[Split], Logits]) -> tuple[Logits, Logits]:
        said = ask(texts.split)
        if stage.select_on == "validation":
            return said, ask(selecting)
        return said[learned], said[held]

    facts = learn(
        pupil,
        teacher,
        stage,
        examples=examples,
        holdout=holdout,
        collate=partial(pad_rows, tokenizer=tokenizer),
        task=data.task if isinstance(stage, Distill) else None,
        ask=partial(ask_for_both, answers.ask) if answers else None,
        order=answers.order if answers else None,
    )
    return {**facts, "truncated_training_texts": whole.truncated}


def learn(
    pupil: Pupil,
    teacher: Path,
    stage: General | Intermediate | Distill,
    *,
    examples: Examples,
    holdout: Examples,
    collate: Collate,
    task: Task | None = None,
    ask: Callable[[], tuple[Logits, Logits]] | None = None,
    order: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Move a student towards its teacher.

    Args:
        pupil: Has the head that the terms ask for. Projections that lie where it comes from are gone on with, and
            where another stage goes on with it they are left beside it.
        teacher: The directory of the weights that terms look into.
        stage: Its terms and its schedule.
        examples: What is learned.
        holdout: What decides which weights are kept.
        collate: Makes a batch of rows.
        task: Its metric decides on the hold-out; without one the loss does.
        ask: What teachers answer to both, each `[N, T, C]`; called where terms compare it, and no teacher who runs
            beside the student says it anyway.
        order: For each of the task's labels the place of that teacher's logit; None where it may not answer.

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
        order=order,
    )
    examples, holdout = lesson.examples, lesson.holdout
    if ask is not None and not lesson.answers and teacher_needs(comparisons, answers=True).logits:
        said, seen = ask()
        examples, holdout = (
            WithColumn(each, "teacher_logits", known) for each, known in ((examples, said), (holdout, seen))
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
            examples=examples,
            holdout=holdout,
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
