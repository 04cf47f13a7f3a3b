"""What each kind of stage makes of its inputs: the artefact, and facts about how it came to be."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import singledispatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from compress.artefacts import ONNX_FILE
from compress.data.corpus import Corpus
from compress.data.task_data import TaskData
from compress.distillation.answers import TaskTeacher, distill_answers, gate_teacher
from compress.distillation.augmentation import Augmented, augmented
from compress.distillation.learning import learn_texts
from compress.distillation.states import distill_general
from compress.encoder import (
    Encoder,
    build_classifier,
    build_config,
    load_config,
    load_encoder,
    load_finished,
    load_tokenizer,
    model_inputs,
    save_encoder,
)
from compress.finetuning import finetune_encoder
from compress.heads import (
    build_bare,
    build_learner,
    copy_mlm_head,
    dropouts_of,
    load_base,
    load_learner,
    load_masked_lm,
)
from compress.inference import load
from compress.models.initialization import initialize_from_teacher
from compress.models.sharing import is_partially_shared, to_plain_albert
from compress.pretraining.learning import pretrain_encoder
from compress.pretraining.tokenizer import train_tokenizer
from compress.processes import is_main
from compress.quantization.calibration import CalibrationData
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
from compress.rewriting import rewrite
from compress.sources import Model
from compress.steps import Step
from compress.storage import require_space
from compress.training import BYTES_OF_WEIGHT, Place, Pupil, room_for
from compress.workspace import Workspace

AUGMENTATION_SEED = 42
"""Whatever the student's seed: several students share the augmented texts. Another one needs a new SCHEMA_VERSION."""


@dataclass(frozen=True)
class Made:
    """What a handler says of the artefact that it left in the workspace."""

    parameters: int
    facts: dict[str, Any]


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
    if stage.built_anew is not None:
        tokenizer = load_tokenizer(inputs["tokenizer"].path)
        encoder = build_classifier(stage.built_anew, tokenizer, data.task, seed=step.seed)
    else:
        encoder = load_encoder(inputs["model"].path, data.task, seed=step.seed)
    pupil = _pupil(encoder, step, workspace)
    facts = finetune_encoder(pupil, data, stage)
    return _saved(encoder, stage.training.max_length, facts, workspace)


@make_artefact.register
def _pretrain(stage: Pretrain, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    how: dict[str, Any] = {"objective": stage.objective, "dropout": stage.dropout, "seed": step.seed}
    before = None
    if stage.new is None:
        before = inputs["model"].path
        encoder, usual = load_learner(before, **how), load_config(before)
    else:
        tokenizer = _tokenizer(stage, step, inputs)
        encoder = build_learner(stage.new, tokenizer, **how)
        usual = build_config(stage.new.architecture, stage.new.family, tokenizer)
    pupil = _pupil(encoder, step, workspace, before=before)
    facts = pretrain_encoder(pupil, _documents(step), stage)
    encoder.model.config.update(dropouts_of(usual))  # whoever fine-tunes it wants its shape's
    return _saved(encoder, stage.training.max_length, facts, workspace)


@make_artefact.register
def _general(stage: General, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source, masked_lm = inputs["teacher"].path, stage.masking is not None
    student = build_bare(stage.student, load_tokenizer(source), seed=step.seed, masked_lm=masked_lm)
    started = _initialize(student, stage.student, source, masked_lm=masked_lm)
    facts = distill_general(_pupil(student, step, workspace), source, _documents(step), stage)
    facts = _stages(step, inputs) | started | facts
    return _saved(student, stage.training.max_length, facts, workspace)


@make_artefact.register
def _intermediate(stage: Intermediate, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source = inputs["teacher"].path
    student, started = _begin(
        stage,
        inputs,
        load=load_base,
        build=lambda: build_bare(stage.student, load_tokenizer(source), seed=step.seed),
    )
    pupil = _pupil(student, step, workspace, before=_before(inputs))
    texts = _augment(stage, step, inputs)
    facts = learn_texts(pupil, source, stage, _examples(step), texts)
    facts = _stages(step, inputs) | started | texts.facts | facts
    return _saved(student, stage.training.max_length, facts, workspace)


@make_artefact.register
def _distill(stage: Distill, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    data, seed = _examples(step), step.seed
    teachers = _teachers(stage, inputs, seed=seed)
    tokenizer = teachers[0].predictor.tokenizer
    student, started = _begin(
        stage,
        inputs,
        load=lambda path: load_encoder(path, data.task, seed=seed),
        build=lambda: build_classifier(stage.student, tokenizer, data.task, seed=seed),
    )
    pupil = _pupil(student, step, workspace, before=_before(inputs))
    texts = _augment(stage, step, inputs)
    facts = distill_answers(pupil, teachers, data, texts, stage)
    facts = _stages(step, inputs) | started | texts.facts | facts
    return _saved(student, stage.training.max_length, facts, workspace)


@make_artefact.register
def _quantize(stage: Quantize, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source = inputs["model"]
    encoder = load_finished(source.path)
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    encoder.model.config.save_pretrained(workspace.path)
    encoder.tokenizer.save_pretrained(workspace.path)
    learned_by = source.run.run.seed if source.run else step.seed  # its hold-out, which it was not taught
    data = CalibrationData.of(_examples(step), holdout_seed=learned_by, seed=step.seed)
    summary = rewrite(stage.method, encoder, workspace.path, data)
    return Made(encoder.parameters, summary.facts)


@make_artefact.register
def _export(stage: Export, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    encoder = load_finished(inputs["model"].path)
    if stage.format != "transformers":
        return _export_graph(stage.format, encoder, workspace)
    unshared = is_partially_shared(encoder.model)
    if unshared:
        encoder = replace(encoder, model=to_plain_albert(encoder.model))
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    save_encoder(encoder, workspace.path, max_length=encoder.tokenizer.model_max_length)
    return Made(
        encoder.parameters, {"model_type": encoder.model.config.model_type, "layers_copied": unshared}
    )


def _export_graph(form: Literal["onnx", "openvino"], encoder: Encoder, workspace: Workspace) -> Made:
    """A graph in fp32, with the configuration and the tokenizer beside it."""
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    encoder.model.config.save_pretrained(workspace.path)
    encoder.tokenizer.save_pretrained(workspace.path)
    names = model_inputs(encoder.tokenizer)
    if form == "onnx":
        from compress.exporting import export_onnx  # onnx takes a second to import

        export_onnx(encoder.model, workspace.path / ONNX_FILE, input_names=names)
    else:
        from compress.converting import export_openvino

        export_openvino(encoder.model, workspace.path, input_names=names)
    return Made(encoder.parameters, {"model_type": encoder.model.config.model_type})


def gate_teachers(step: Step, inputs: dict[str, Model]) -> None:
    """Refuse teachers that are no better than a constant, where a step learns their answers.

    Raises:
        CompressError: One is not, and neither the user nor the task allows that.
    """
    if isinstance(step.stage, Distill):
        allow_weak = step.stage.allow_weak_teacher
        for teacher in _teachers(step.stage, inputs, seed=step.seed):
            gate_teacher(_examples(step), teacher, store=step.store, allow_weak=allow_weak)


def _teachers(stage: Distill, inputs: dict[str, Model], *, seed: int) -> list[TaskTeacher]:
    """The teachers of a step, in their order and in the student's precision.

    One that is no run has seen nobody knows what.
    """
    bf16 = bool(stage.training.bf16)
    models = [model for role, model in inputs.items() if role.startswith("teacher")]
    return [
        TaskTeacher(load(model.path, bf16=bf16), model.path, model.run.run.seed if model.run else seed)
        for model in models
    ]


def _examples(step: Step) -> TaskData:
    if not isinstance(step.data, TaskData):
        raise TypeError(f"a {step.stage.kind} stage learns a task")
    return step.data


def _documents(step: Step) -> Corpus:
    if not isinstance(step.data, Corpus):
        raise TypeError(f"a {step.stage.kind} stage learns from documents")
    return step.data


def _tokenizer(stage: Pretrain, step: Step, inputs: dict[str, Model]) -> PreTrainedTokenizerBase:
    """The tokenizer of a new model: trained on its corpus, or somebody's."""
    if stage.tokenizer is None:
        return load_tokenizer(inputs["tokenizer"].path)
    return train_tokenizer(_documents(step), stage.tokenizer, store=step.store)


def _place(step: Step, workspace: Workspace) -> Place:
    return Place(store=step.store, directory=workspace.path, checkpoints=workspace.checkpoints)


def _pupil(encoder: Encoder, step: Step, workspace: Workspace, *, before: Path | None = None) -> Pupil:
    """Who learns in a step, once the disk is seen to have room for checkpoints and the result."""
    require_space(workspace.path, room_for(encoder.parameters, workspace.checkpoints))
    return Pupil(encoder, step.seed, _place(step, workspace), before)


def _begin(
    stage: Intermediate | Distill,
    inputs: dict[str, Model],
    *,
    load: Callable[[Path], Encoder],
    build: Callable[[], Encoder],
) -> tuple[Encoder, dict[str, Any]]:
    """A student as an earlier stage has left it, else a new one that starts as its recipe says; and how it started."""
    if "student" in inputs:
        return load(inputs["student"].path), {}
    student = build()
    return student, _initialize(student, stage.student, inputs["teacher"].path)


def _initialize(
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


def _before(inputs: dict[str, Model]) -> Path | None:
    """The directory that an earlier stage left the student in, where there was one."""
    return inputs["student"].path if "student" in inputs else None


def _stages(step: Step, inputs: dict[str, Model]) -> dict[str, Any]:
    """What a student went through, this stage the last: the way there is no more seen from its parents alone."""
    before = inputs["student"].run.run if "student" in inputs and inputs["student"].run else None
    earlier = f"{before.facts.get('stages', before.stage.kind)}, " if before else ""
    return {"stages": f"{earlier}{step.stage.kind} on {step.data.name}"}


def _saved(encoder: Encoder, max_length: int, facts: dict[str, Any], workspace: Workspace) -> Made:
    if is_main():
        save_encoder(encoder, workspace.path, max_length=max_length)
    return Made(encoder.parameters, facts)
