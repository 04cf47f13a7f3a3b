"""From a command to its steps: what will be made, from what, where it will lie. Computes nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compress.data.checking import UNLABELLED
from compress.data.task_data import TaskData, count_held_out, load_task_data
from compress.encoder import answers_task
from compress.environment import describe, device, multiplies_bfloat16
from compress.errors import InvalidInputError
from compress.processes import world_size
from compress.recipes.resolve import explain_validation, list_recipes, read_fields, resolve_student
from compress.recipes.schema import Frozen, Training
from compress.recipes.stages import Distill, DynamicInt8, Export, Finetune, Quantize, Selection, Stage
from compress.runs import RUN_FILE, SCHEMA_VERSION, Parent, content_key, run_directory
from compress.sources import TRAINABLE_STAGES, Model, resolve_model
from compress.tasks import Task, resolve_task
from compress.training import steps_of

Part = TypeVar("Part", bound=Frozen)

UNDECISIVE = {"description", "training", "distill"}
"""What a student's recipe says that decides nothing: words, and defaults that the stage itself has resolved."""
COMPUTED = (Quantize, Export)
"""Stages that compute weights from weights alone: no data decides, and nothing is drawn."""
TEACHER_SEED = 42
"""Of a teacher that is fine-tuned on the way, whatever the student's seed: several students share it."""


@dataclass(frozen=True)
class Workplace:
    """Where a command works.

    Attributes:
        store: The directory of runs.
        glue: A local clone of GLUE; None is the Hub.
    """

    store: Path = Path("runs")
    glue: Path | None = None


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Attributes:
        name: Of the model that it makes.
        stage: What it does, complete.
        inputs: Role → the model that it starts from, or the step that makes that model.
        data: The task's examples.
        task_name: The task as the user named it.
        seed: Of everything random in it.
        store: The directory of runs.
    """

    name: str
    stage: Stage
    inputs: Mapping[str, "Model | Step"]
    data: TaskData
    task_name: str
    seed: int
    store: Path

    @cached_property
    def key(self) -> str:
        """A hash over all that decides the result (DESIGN.md, section 5)."""
        draws = not isinstance(self.stage, COMPUTED)
        onnx = ("onnx", "onnxruntime") if isinstance(self.stage, Quantize) else ()
        makers = ("torch", "transformers", *onnx)
        versions = describe().versions
        return content_key(
            {
                "schema": SCHEMA_VERSION,
                "stage": self.stage.model_dump(mode="json", exclude={"student": UNDECISIVE}),
                "parents": [parent.key for parent in self.parents],
                "task": self.data.task.model_dump(mode="json", exclude={"source"}),
                "data": self._data_key(),
                "seed": self.seed if draws else None,
                "device": device(),
                "processes": world_size(),
                "versions": [_minor(versions.get(name, "")) for name in makers],
            }
        )

    def _data_key(self) -> list[str]:
        if isinstance(self.stage, COMPUTED):
            return []
        selected = getattr(self.stage, "select_on", "holdout") == "validation"
        return [self.data.fingerprint, *([self.data.validation[0].fingerprint] if selected else [])]

    @cached_property
    def parents(self) -> tuple[Parent, ...]:
        """How the run will record its inputs."""
        return tuple(
            Parent(role=role, name=given.name, origin=f"run {given.id}", key=given.key)
            if isinstance(given, Step)
            else given.as_parent(role)
            for role, given in self.inputs.items()
        )

    @property
    def directory(self) -> Path:
        """Where the run lies, or will."""
        return run_directory(
            self.store, task=self.data.task.name, name=self.name, stage=self.stage.kind, key=self.key
        )

    @property
    def id(self) -> str:
        """The run's id: its directory, as seen from the store."""
        return self.directory.relative_to(self.store).as_posix()

    @property
    def finished(self) -> bool:
        """Whether the run is already there."""
        return (self.directory / RUN_FILE).is_file()

    @property
    def optimizer_steps(self) -> int:
        """How many optimizer steps it takes at the most; 0 where nothing is trained."""
        if isinstance(self.stage, COMPUTED):
            return 0
        rows = len(self.data.train)
        if self.stage.select_on == "holdout":
            rows -= count_held_out(rows)
        return steps_of(self.stage.training, rows, processes=world_size())

    def unfold(self) -> list["Step"]:
        """This step, preceded by those that make its inputs."""
        before = [
            step for given in self.inputs.values() if isinstance(given, Step) for step in given.unfold()
        ]
        return [*before, self]


@dataclass(frozen=True)
class Options:
    """What the command line may change of a recipe; names are the recipe's fields.

    Attributes:
        training: Of `Training`.
        method: Of the method of distillation.
        select_on: Where early stopping looks.
        allow_weak_teacher: Go on with a teacher that is no better than a constant.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    select_on: Selection = "holdout"
    allow_weak_teacher: bool = False


def plan_finetuning(
    model: str, task: str, workplace: Workplace, *, seed: int, options: Options, tokenizer: str | None = None
) -> Step:
    """Plan to fine-tune a model, or a student from random weights over another model's tokenizer.

    Raises:
        UnknownNameError: The model or the task is unknown.
        InvalidInputError: The task's data or an option is wrong, or a student came without a tokenizer.
    """
    if _is_student(model, tokenizer):
        student = resolve_student(model)
        if tokenizer is None:
            raise InvalidInputError(
                f"The student {student.name!r} has no vocabulary of its own.",
                "Say whose it takes: --tokenizer TEACHER",
            )
        source = resolve_model(tokenizer, store=workplace.store, stages=TRAINABLE_STAGES)
        stage = Finetune(
            training=decide_training(student.training, options.training),
            select_on=options.select_on,
            student=student,
        )
        data = _load(task, workplace, select_on=options.select_on)
        return Step(student.name, stage, {"tokenizer": source}, data, task, seed, workplace.store)
    if tokenizer is not None:
        raise InvalidInputError(
            f"{model!r} brings its own tokenizer.", "Leave out --tokenizer: it is for students."
        )
    source = resolve_model(model, store=workplace.store, stages=TRAINABLE_STAGES)
    data = _load(task, workplace, select_on=options.select_on)
    return _finetuning_step(source, data, task, workplace, seed=seed, options=options)


def plan_distillation(
    teacher: str, student: str, task: str, workplace: Workplace, *, seed: int, options: Options
) -> Step:
    """Plan to distil a student; a teacher that does not know the task yet is fine-tuned first.

    Raises:
        UnknownNameError: Teacher, student or task is unknown.
        InvalidInputError: The task's data or an option is wrong.
    """
    recipe = resolve_student(student)
    stage = Distill(
        student=recipe,
        method=_change(recipe.distill.logits, options.method),
        training=decide_training(recipe.training, options.training),
        select_on=options.select_on,
        allow_weak_teacher=options.allow_weak_teacher,
    )
    source = resolve_model(teacher, store=workplace.store, stages=TRAINABLE_STAGES)
    data = _load(task, workplace, select_on=options.select_on)
    taught_by: Model | Step = source
    if not _knows(source, data.task):
        taught_by = _finetuning_step(source, data, task, workplace, seed=TEACHER_SEED, options=Options())
    return Step(recipe.name, stage, {"teacher": taught_by}, data, task, seed, workplace.store)


def plan_quantization(model: str, workplace: Workplace, *, seed: int, task: str | None = None) -> Step:
    """Plan to quantize a finished run (or any classifier, if its task is named).

    Raises:
        UnknownNameError: The model is unknown.
        InvalidInputError: It is no finished run and no task was named.
    """
    source = resolve_model(model, store=workplace.store, stages=TRAINABLE_STAGES)
    if task is None:
        task = task_of(source)
    data = _load(task, workplace)
    stage = Quantize(method=DynamicInt8())
    return Step(source.name, stage, {"model": source}, data, task, seed, workplace.store)


def plan_export(
    model: str, workplace: Workplace, *, seed: int, stage: Export, task: str | None = None
) -> Step:
    """Plan to write a finished run (or any classifier, if its task is named) in another format.

    Raises:
        UnknownNameError: The model is unknown.
        InvalidInputError: It is no finished run and no task was named.
    """
    source = resolve_model(model, store=workplace.store, stages=TRAINABLE_STAGES)
    if task is None:
        task = task_of(source)
    return Step(source.name, stage, {"model": source}, _load(task, workplace), task, seed, workplace.store)


def task_of(model: Model) -> str:
    """The task that a run was made for, as its user named it.

    Raises:
        InvalidInputError: The model is no run.
    """
    if model.run is None:
        raise InvalidInputError(
            f"{model.name!r} is no run, so its task is not known.", "Name it: --task TASK"
        )
    return model.run.run.task_name


def decide_training(training: Training, changes: Mapping[str, Any]) -> Training:
    """A recipe's schedule with the user's changes, its precision decided for this machine.

    Raises:
        InvalidInputError: A value is out of range.
    """
    changed = _change(training, changes)
    return changed if changed.bf16 is not None else _change(changed, {"bf16": multiplies_bfloat16()})


def _finetuning_step(
    source: Model, data: TaskData, task: str, workplace: Workplace, *, seed: int, options: Options
) -> Step:
    usual = source.teacher.training_on(data.task.name) if source.teacher else Training()
    stage = Finetune(training=decide_training(usual, options.training), select_on=options.select_on)
    return Step(source.name, stage, {"model": source}, data, task, seed, workplace.store)


def _load(task: str, workplace: Workplace, *, select_on: Selection = "holdout") -> TaskData:
    """A task's examples; those that early stopping looks at have labels.

    Raises:
        InvalidInputError: They have none.
    """
    data = load_task_data(resolve_task(task, glue=workplace.glue))
    first = data.validation[0]
    if (
        select_on == "validation"
        and data.task.kind == "classification"
        and (first.labels == UNLABELLED).all()
    ):
        raise InvalidInputError(
            f"No row of the split {first.name!r} of {data.task.name!r} has a label, so nothing can be selected on it.",
            "Leave out --select-on, or name a validation file with labels first.",
        )
    return data


def _change(recipe: Part, changes: Mapping[str, Any]) -> Part:
    """A part of a recipe with what the user said otherwise; None is what was not said.

    Raises:
        InvalidInputError: A value is out of range.
    """
    said = {name: value for name, value in changes.items() if value is not None}
    try:
        return type(recipe).model_validate({**recipe.model_dump(), **said})
    except ValidationError as error:
        raise InvalidInputError(
            f"These options do not fit: {explain_validation(error, (type(recipe),))}", "Mend them."
        ) from None


def _is_student(name: str, tokenizer: str | None) -> bool:
    """Whether a model's name is a student's: a recipe that says where no weights come from.

    A name that is a teacher's as well (`bert-mini`) is the student's where a tokenizer is named for it.
    """
    if name.endswith(".toml"):
        return Path(name).is_file() and not {"source", "vocab_size"} & read_fields(Path(name)).keys()
    if name not in list_recipes("students") or Path(name).is_dir():
        return False
    return tokenizer is not None or name not in list_recipes("teachers")


def _knows(model: Model, task: Task) -> bool:
    """Whether a model already answers a task: it was fine-tuned on it, here or elsewhere."""
    if model.run is not None:
        return model.run.run.task.name == task.name
    return answers_task(model.path, task)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
