"""Plans carried out: each stage's handler, the cache of finished runs, and the scores after each."""

import contextlib
import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.corpus import Corpus
from compress.data.task_data import TaskData
from compress.distillation.answers import TaskTeacher, distill_answers
from compress.distillation.augmentation import Augmented, augmented
from compress.distillation.states import distill_general, distill_intermediate
from compress.encoder import (
    Encoder,
    build_student,
    load_config,
    load_encoder,
    load_finished,
    load_tokenizer,
    model_inputs,
    save_encoder,
)
from compress.environment import current_command, describe
from compress.errors import CompressError
from compress.evaluation import evaluate
from compress.finetuning import finetune_encoder
from compress.heads import build_bare, copy_mlm_head, load_base, load_masked_lm
from compress.inference import load
from compress.models.initialization import initialize_from_teacher
from compress.models.placeholder import MODEL_TYPE
from compress.models.sharing import is_partially_shared, to_plain_albert
from compress.planning import Step
from compress.pretraining.masked_lm import pretrain_encoder
from compress.processes import is_main, require_all_started, wait
from compress.recipes.schema import Student
from compress.recipes.stages import (
    Distill,
    Export,
    Finetune,
    General,
    Intermediate,
    Pretrain,
    Quantize,
    Stage,
)
from compress.reporting.card import render_card
from compress.runs import Run, StoredRun, list_files, read_run, write_atomically
from compress.sources import Model, model_of_run
from compress.storage import bytes_below, require_space, require_writable, telling_failed_writes
from compress.tasks import FilesSource, GlueSource, Task
from compress.training import Place
from compress.workspace import Workspace, complete

logger = logging.getLogger(__name__)

BYTES_OF_WEIGHT = 4
AUGMENTATION_SEED = 42
"""Whatever the student's seed: several students share the augmented texts."""
CHECKPOINTS_AT_A_TIME = 3
"""The newest, the best, and the one that is being written."""


@dataclass(frozen=True)
class Made:
    """What a handler says of the artefact that it left in the workspace."""

    parameters: int
    facts: dict[str, Any]


def execute(step: Step, *, force: bool = False, save_to: Path | None = None) -> StoredRun:
    """Carry out a plan: what is finished is taken as it is, what was interrupted goes on.

    Args:
        step: The last step; those that make its inputs come first.
        force: Redo the last step although it is finished.
        save_to: A directory, new or empty, for a copy of the artefact.

    Raises:
        CompressError: A stage failed; what it had done is kept, and the same command goes on from there.
    """
    require_all_started()
    if save_to is not None:
        save_to = save_to.resolve()
        _require_free(save_to)
    inputs = {
        role: model_of_run(execute(given)) if isinstance(given, Step) else given
        for role, given in step.inputs.items()
    }
    if is_main():
        complete(step.directory)
    wait()
    cached = step.finished and not force
    wait()  # no process makes what another one is still looking for
    if cached:
        logger.info("%s: cached", step.id)
        stored = read_run(step.directory)
        if is_main():
            _score_new_data(step, stored)
        wait()
    elif is_main():
        stored = _make(step, inputs, force=force)
        wait()
    else:
        stored = _assist(step, inputs, force=force)
    if save_to is not None and is_main():
        _copy_artefact(stored, save_to)
    return stored


def _make(step: Step, inputs: dict[str, Model], *, force: bool) -> StoredRun:
    with Workspace.open(step.directory) as workspace:
        finished = step.finished and not force  # another command finished it since the plan was made
        wait()
        if finished:
            workspace.leave_if_empty()
            return read_run(step.directory)
        logger.info("%s: %s", step.id, _describe(step))
        started, clock = datetime.now(UTC), time.monotonic()
        made = make_artefact(step.stage, step, inputs, workspace)
        data = step.answers
        evaluations = (
            evaluate(load(workspace.path), data.task, data.validation, run=step.id, directory=workspace.path)
            if data
            else []
        )
        run = Run(
            id=step.id,
            name=step.name,
            key=step.key,
            stage=step.stage,
            parents=step.parents,
            task=_portable(step.task) if step.task else None,
            subject=step.subject,
            seed=step.seed,
            command=current_command(),
            environment=describe(),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 1),
            parameters=made.parameters,
            facts=made.facts,
            files=list_files(workspace.path),
        )
        needed = load_config(workspace.path).model_type == MODEL_TYPE
        card = render_card(run, evaluations, needs_compress=needed)
        write_atomically(workspace.path / "README.md", card)
        stored = workspace.finish(run)
    for evaluation in evaluations:
        scores = ", ".join(f"{s.name} {s.value:.4f} [{s.low:.4f}, {s.high:.4f}]" for s in evaluation.scores)
        logger.info("%s, %s: %s after %.0f s", step.id, evaluation.split, scores, run.seconds)
    return stored


def _score_new_data(step: Step, stored: StoredRun) -> None:
    """Score a finished run on validation data that has changed since: its key knows only what training saw."""
    data = step.answers
    known = {evaluation.data for evaluation in stored.evaluations}
    changed = [split for split in data.validation if split.fingerprint not in known] if data else []
    if not (data and changed):
        return
    logger.info("%s: scored on what is new in %s", step.id, ", ".join(split.name for split in changed))
    with telling_failed_writes(step.directory):
        evaluate(load(step.directory), data.task, changed, run=step.id, directory=step.directory)


def _assist(step: Step, inputs: dict[str, Model], *, force: bool) -> StoredRun:
    """What the processes beside the main one do: train with it, and wait while it does the rest."""
    wait()  # the main process holds the directory
    workspace = Workspace(step.directory)
    if step.trains and (force or not step.finished):
        make_artefact(step.stage, step, inputs, workspace)
    wait()
    return read_run(step.directory)


@singledispatch
def make_artefact(stage: Stage, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    """Leave a stage's artefact in the workspace; each kind of stage registers its own way.

    Every process calls this for a stage that trains; the main one alone for another. Only the main one writes.

    Args:
        stage: What to do; its type chooses the handler.
        step: The stage with its data and seed.
        inputs: Role → the model to start from.
        workspace: Where the artefact goes.
    """
    raise NotImplementedError(f"no handler for {type(stage).__name__}")


@make_artefact.register
def _finetune(stage: Finetune, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    data = _examples(step)
    if stage.student is not None:
        tokenizer = load_tokenizer(inputs["tokenizer"].path)
        encoder = build_student(stage.student, tokenizer, data.task, seed=step.seed)
    else:
        encoder = load_encoder(inputs["model"].path, data.task, seed=step.seed)
    _require_room(encoder.parameters, workspace)
    facts = finetune_encoder(
        encoder, data, stage, seed=step.seed, directory=workspace.path, checkpoints=workspace.checkpoints
    )
    return _saved(encoder, stage.training.max_length, facts, workspace)


@make_artefact.register
def _pretrain(stage: Pretrain, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    encoder = load_masked_lm(inputs["model"].path, seed=step.seed, allow_new_head=True)
    _require_room(encoder.parameters, workspace)
    facts = pretrain_encoder(encoder, _documents(step), stage, seed=step.seed, place=_place(step, workspace))
    return _saved(encoder, stage.training.max_length, facts, workspace)


@make_artefact.register
def _general(stage: General, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source = inputs["teacher"].path
    student = build_bare(
        stage.student, load_tokenizer(source), seed=step.seed, masked_lm=stage.masking is not None
    )
    started = _initialize(student, stage.student, source)
    if started and stage.masking is not None:
        guessing = load_masked_lm(source, seed=step.seed, allow_new_head=False).model
        started["mlm_head_copied"] = copy_mlm_head(student.model, guessing)
    _require_room(student.parameters, workspace)
    facts = distill_general(
        student, source, _documents(step), stage, seed=step.seed, place=_place(step, workspace)
    )
    return _saved(student, stage.training.max_length, {**started, **facts}, workspace)


@make_artefact.register
def _intermediate(stage: Intermediate, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    data, source = _examples(step), inputs["teacher"].path
    started: dict[str, Any] = {}
    if "student" in inputs:
        student = load_base(inputs["student"].path)
    else:
        student = build_bare(stage.student, load_tokenizer(source), seed=step.seed)
        started = _initialize(student, stage.student, source)
    _require_room(student.parameters, workspace)
    texts = _augment(stage, step, inputs)
    facts = distill_intermediate(
        student, source, data, texts.split, texts.origin, stage, seed=step.seed, place=_place(step, workspace)
    )
    return _saved(
        student,
        stage.training.max_length,
        {**started, **_augmentation_facts(stage, texts), **facts},
        workspace,
    )


@make_artefact.register
def _distill(stage: Distill, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    data = _examples(step)
    models = [model for role, model in inputs.items() if role.startswith("teacher")]
    teachers = [
        TaskTeacher(load(model.path), model.path, model.run.run.seed if model.run else step.seed)
        for model in models
    ]
    started: dict[str, Any] = {}
    if "student" in inputs:
        student = load_encoder(inputs["student"].path, data.task, seed=step.seed)
    else:
        student = build_student(stage.student, teachers[0].predictor.tokenizer, data.task, seed=step.seed)
        started = _initialize(student, stage.student, models[0].path)
    _require_room(student.parameters, workspace)
    texts = _augment(stage, step, inputs)
    facts = distill_answers(
        student,
        teachers,
        data,
        texts.split,
        texts.origin,
        stage,
        seed=step.seed,
        place=_place(step, workspace),
    )
    return _saved(
        student,
        stage.training.max_length,
        {**started, **_augmentation_facts(stage, texts), **facts},
        workspace,
    )


@make_artefact.register
def _quantize(stage: Quantize, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    from compress.quantization.onnx import quantize_dynamic_int8  # onnx takes a second to import

    encoder = load_finished(inputs["model"].path)
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    summary = quantize_dynamic_int8(
        encoder.model,
        workspace.path,
        input_names=model_inputs(encoder.tokenizer),
        per_channel=stage.method.per_channel,
    )
    encoder.model.config.save_pretrained(workspace.path)
    encoder.tokenizer.save_pretrained(workspace.path)
    return Made(encoder.parameters, summary.facts)


@make_artefact.register
def _export(stage: Export, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    encoder = load_finished(inputs["model"].path)
    unshared = is_partially_shared(encoder.model)
    if unshared:
        encoder = replace(encoder, model=to_plain_albert(encoder.model))
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    save_encoder(encoder, workspace.path, max_length=encoder.tokenizer.model_max_length)
    return Made(
        encoder.parameters, {"model_type": encoder.model.config.model_type, "layers_copied": unshared}
    )


def _examples(step: Step) -> TaskData:
    if not isinstance(step.data, TaskData):
        raise TypeError(f"a {step.stage.kind} stage learns a task")
    return step.data


def _documents(step: Step) -> Corpus:
    if not isinstance(step.data, Corpus):
        raise TypeError(f"a {step.stage.kind} stage learns from documents")
    return step.data


def _place(step: Step, workspace: Workspace) -> Place:
    return Place(store=step.store, directory=workspace.path, checkpoints=workspace.checkpoints)


def _initialize(encoder: Encoder, student: Student, teacher: Path) -> dict[str, Any]:
    """Start a student from its teacher, where its recipe says so."""
    if student.initialize == "random":
        return {}
    provenance = initialize_from_teacher(encoder.model, load_base(teacher).model, student.initialize)
    return {"initialized": json.loads(json.dumps(asdict(provenance)))}


def _augment(stage: Intermediate | Distill, step: Step, inputs: dict[str, Model]) -> Augmented:
    """The train split, with its augmented copies where the stage wants some."""
    train, recipe = _examples(step).train, stage.augmentation
    if recipe is None:
        return Augmented(train, np.arange(len(train)))
    asked = recipe.min_confidence is not None
    return augmented(
        train,
        recipe,
        copies=recipe.copies,
        source=inputs["candidates"].path,
        seed=AUGMENTATION_SEED,
        store=step.store,
        teacher=load(inputs["teacher"].path) if asked else None,
        teacher_source=inputs["teacher"].path if asked else None,
    )


def _augmentation_facts(stage: Intermediate | Distill, texts: Augmented) -> dict[str, Any]:
    return texts.facts if stage.augmentation else {}


def _saved(encoder: Encoder, max_length: int, facts: dict[str, Any], workspace: Workspace) -> Made:
    if is_main():
        save_encoder(encoder, workspace.path, max_length=max_length)
    return Made(encoder.parameters, facts)


def _require_room(parameters: int, workspace: Workspace) -> None:
    """Refuse to train where the disk has no room for checkpoints (weights, two moments of Adam) and the result."""
    needed = BYTES_OF_WEIGHT * parameters * (3 * CHECKPOINTS_AT_A_TIME + 1)
    require_space(workspace.path, needed - bytes_below(workspace.checkpoints))


def _describe(step: Step) -> str:
    made_from = ", ".join(f"{parent.role} {parent.name} ({parent.origin})" for parent in step.parents)
    steps = f"{step.optimizer_steps:,} steps at the most" if step.optimizer_steps else step.stage.kind
    return f"from {made_from}; {steps}; seed {step.seed}"


def _portable(task: Task) -> Task:
    """A task without this machine's paths."""
    source = task.source
    if isinstance(source, GlueSource):
        return task.model_copy(update={"source": GlueSource(config=source.config)})
    validation = tuple(Path(file).name for file in source.validation)
    return task.model_copy(
        update={"source": FilesSource(train=Path(source.train).name, validation=validation)}
    )


def _require_free(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CompressError(f"--save-to {directory} is there already and not empty.", "Name a new directory.")
    if directory == Path.cwd():
        raise CompressError(
            "--save-to is the working directory, which cannot be replaced.", "Name a new one."
        )
    require_writable(directory)


def _copy_artefact(stored: StoredRun, directory: Path) -> None:
    """Copy what one would ship: the files of the run and its card; whole or not at all."""
    temporary = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with telling_failed_writes(directory):
            temporary.mkdir(parents=True)
            for name in (*stored.run.files, "README.md"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy2(stored.path / name, temporary / name)
            if directory.exists():
                directory.rmdir()
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info("copied to %s", directory)
