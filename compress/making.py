"""What each kind of stage makes of its inputs: the artefact, and facts about how it came to be."""

from dataclasses import dataclass, replace
from functools import singledispatch
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from compress.artefacts import ONNX_FILE
from compress.beginnings import augment_texts, begin_student, find_before, initialize_student, tell_stages
from compress.data.corpus import Corpus
from compress.data.task_data import TaskData
from compress.distillation.answers import TaskTeacher, distill_answers, gate_teacher
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
    dropouts_of,
    load_base,
    load_learner,
)
from compress.inference import load
from compress.models.plain import to_plain
from compress.models.sharing import is_partially_shared
from compress.pretraining.learning import pretrain_encoder
from compress.pretraining.tokenizer import train_tokenizer
from compress.processes import is_main
from compress.quantization.calibration import CalibrationData
from compress.quantization.simulation import simulating
from compress.recipes.stages import (
    Distill,
    Export,
    Finetune,
    General,
    Intermediate,
    Pretrain,
    Prune,
    Quantize,
    Stage,
)
from compress.rewriting import rewrite
from compress.runs import is_teacher
from compress.sources import Model
from compress.steps import Step
from compress.storage import require_space
from compress.training import BYTES_OF_WEIGHT, Place, Pupil, room_for
from compress.workspace import Workspace


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
    facts = pretrain_encoder(pupil, _documents(step), stage) | _tell_corpus(step)
    encoder.model.config.update(dropouts_of(usual))  # whoever fine-tunes it wants its shape's
    return _saved(encoder, stage.training.max_length, facts, workspace)


@make_artefact.register
def _general(stage: General, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source, masked_lm = inputs["teacher"].path, stage.masking is not None
    student = build_bare(stage.student, load_tokenizer(source), seed=step.seed, masked_lm=masked_lm)
    started = initialize_student(student, stage.student, source, masked_lm=masked_lm)
    facts = distill_general(_pupil(student, step, workspace), source, _documents(step), stage)
    facts = tell_stages(step, inputs) | started | facts | _tell_corpus(step)
    return _saved(student, stage.training.max_length, facts, workspace)


@make_artefact.register
def _intermediate(stage: Intermediate, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source = inputs["teacher"].path
    student, started = begin_student(
        stage.student,
        inputs,
        load=load_base,
        build=lambda recipe: build_bare(recipe, load_tokenizer(source), seed=step.seed),
    )
    pupil = _pupil(student, step, workspace, before=find_before(inputs))
    data = _examples(step)
    texts = augment_texts(stage, data.train, inputs, store=step.store)
    facts = learn_texts(pupil, source, stage, data, texts)
    facts = tell_stages(step, inputs) | started | texts.facts | facts
    return _saved(student, stage.training.max_length, facts, workspace)


@make_artefact.register
def _distill(stage: Distill, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    data, seed = _examples(step), step.seed
    teachers = _teachers(stage, inputs, seed=seed)
    tokenizer = teachers[0].predictor.tokenizer
    student, started = begin_student(
        stage.student,
        inputs,
        load=lambda path: load_encoder(path, data.task, seed=seed),
        build=lambda recipe: build_classifier(recipe, tokenizer, data.task, seed=seed),
    )
    pupil = _pupil(student, step, workspace, before=find_before(inputs))
    texts = augment_texts(stage, data.train, inputs, store=step.store)
    with simulating(student.model, stage.simulates):
        facts = distill_answers(pupil, teachers, data, texts, stage)
    facts = tell_stages(step, inputs) | started | texts.facts | facts
    return _saved(student, stage.training.max_length, facts, workspace)


@make_artefact.register
def _quantize(stage: Quantize, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    source = inputs["model"]
    encoder = load_finished(source.path)
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    encoder.model.config.save_pretrained(workspace.path)
    encoder.tokenizer.save_pretrained(workspace.path)
    holdout_seed = _learned_by(source, step.seed)  # of what it was not taught
    reference = load_finished(inputs["reference"].path) if "reference" in inputs else None
    data = CalibrationData.of(_examples(step), holdout_seed=holdout_seed, seed=step.seed, reference=reference)
    summary = rewrite(stage.method, encoder, workspace.path, data)
    return Made(encoder.parameters, summary.facts)


@make_artefact.register
def _export(stage: Export, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    encoder = load_finished(inputs["model"].path)
    if stage.format != "transformers":
        return _export_graph(stage.format, encoder, workspace)
    facts: dict[str, Any] = {"layers_copied": is_partially_shared(encoder.model)}
    encoder = replace(encoder, model=to_plain(encoder.model))
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    facts |= {"model_type": encoder.model.config.model_type}
    return _saved(encoder, encoder.tokenizer.model_max_length, facts, workspace)


@make_artefact.register
def _prune(stage: Prune, step: Step, inputs: dict[str, Model], workspace: Workspace) -> Made:
    from compress.pruning.passes import prune  # torch-pruning waits until it is needed

    encoder = load_finished(inputs["model"].path)
    require_space(workspace.path, BYTES_OF_WEIGHT * encoder.parameters)
    pruned, facts = prune(encoder, stage, _examples(step), seed=step.seed)
    return _saved(pruned, encoder.tokenizer.model_max_length, facts, workspace)


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
    """The teachers of a step, in their order and in the student's precision."""
    bf16 = bool(stage.training.bf16)
    models = [model for role, model in inputs.items() if is_teacher(role)]
    return [
        TaskTeacher(load(model.path, bf16=bf16), model.path, _learned_by(model, seed)) for model in models
    ]


def _learned_by(model: Model, seed: int) -> int:
    """The seed of a model's hold-out; one that is no run has seen nobody knows what."""
    return model.run.run.learned_by if model.run else seed


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


def _tell_corpus(step: Step) -> dict[str, str]:
    """By what a reader knows whether another corpus of that name is the one."""
    return {"corpus_fingerprint": _documents(step).fingerprint}


def _place(step: Step, workspace: Workspace) -> Place:
    return Place(store=step.store, directory=workspace.path, checkpoints=workspace.checkpoints)


def _pupil(encoder: Encoder, step: Step, workspace: Workspace, *, before: Path | None = None) -> Pupil:
    """Who learns in a step, once the disk is seen to have room for checkpoints and the result."""
    require_space(workspace.path, room_for(encoder.parameters, workspace.checkpoints))
    return Pupil(encoder, step.seed, _place(step, workspace), before)


def _saved(encoder: Encoder, max_length: int, facts: dict[str, Any], workspace: Workspace) -> Made:
    if is_main():
        save_encoder(encoder, workspace.path, max_length=max_length)
    return Made(encoder.parameters, facts)
