"""How a student begins a stage: as an earlier one has left it or from its teacher, and on which texts."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.task_data import Split
from compress.distillation.augmentation import Augmented, augmented
from compress.encoder import Encoder
from compress.heads import copy_mlm_head, load_base, load_masked_lm
from compress.inference import load
from compress.models.initialization import initialize_from_teacher
from compress.recipes.schema import Student
from compress.recipes.stages import Distill, Intermediate
from compress.sources import Model
from compress.steps import Step

AUGMENTATION_SEED = 42
"""Whatever the student's seed: several students share the augmented texts. Another one needs a new SCHEMA_VERSION."""


def begin_student(
    student: Student | None,
    inputs: dict[str, Model],
    *,
    load: Callable[[Path], Encoder],
    build: Callable[[Student], Encoder],
) -> tuple[Encoder, dict[str, Any]]:
    """A student as an earlier stage has left it, else a new one that starts as its recipe says; and how it started."""
    if "student" in inputs or student is None:
        return load(inputs["student"].path), {}
    encoder = build(student)
    return encoder, initialize_student(encoder, student, inputs["teacher"].path)


def initialize_student(
    encoder: Encoder, student: Student, teacher: Path, *, masked_lm: bool = False
) -> dict[str, Any]:
    """Start a student, and its MLM head where it has one, from its teacher, where its recipe says so."""
    if student.initialize == "random":
        return {}
    # The seed is of a head that is drawn: none is.
    model = (load_masked_lm(teacher, seed=0, allow_new_head=False) if masked_lm else load_base(teacher)).model
    provenance = initialize_from_teacher(encoder.model, model, student.initialize)
    facts = {"initialized": json.loads(json.dumps(asdict(provenance)))}
    return facts | ({"mlm_head_copied": copy_mlm_head(encoder.model, model)} if masked_lm else {})


def augment_texts(
    stage: Intermediate | Distill, train: Split, inputs: dict[str, Model], *, store: Path
) -> Augmented:
    """The train split, with its augmented copies where the stage wants some."""
    recipe = stage.augmentation
    if recipe is None:
        return Augmented(train, np.arange(len(train)))
    asked = recipe.min_confidence is not None
    return augmented(
        train,
        recipe,
        copies=recipe.copies,
        source=inputs["candidates"].path,
        seed=AUGMENTATION_SEED,
        store=store,
        teacher=load(inputs["teacher"].path) if asked else None,
        teacher_source=inputs["teacher"].path if asked else None,
    )


def find_before(inputs: dict[str, Model]) -> Path | None:
    """The directory that an earlier stage left the student in, where there was one."""
    return inputs["student"].path if "student" in inputs else None


def tell_stages(step: Step, inputs: dict[str, Model]) -> dict[str, Any]:
    """What a student went through, this stage the last: the way there is no more seen from its parents alone."""
    before = inputs["student"].run.run if "student" in inputs and inputs["student"].run else None
    earlier = f"{before.facts.get('stages', before.stage.kind)}, " if before else ""
    return {"stages": f"{earlier}{step.stage.kind} on {step.data.name}"}
