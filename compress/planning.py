"""From a command to its steps: what will be made, from what, where it will lie. Computes nothing heavy."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compress.data.checking import UNLABELLED
from compress.data.task_data import TaskData, load_task_data
from compress.encoder import answers_task, build_config, load_config, load_tokenizer, require_positions
from compress.environment import installed_version, multiplies_bfloat16
from compress.errors import CompressError, InvalidInputError
from compress.integrity import require_start
from compress.recipes.methods import Distillation
from compress.recipes.resolve import (
    explain_validation,
    list_recipes,
    read_fields,
    resolve_student,
    resolve_teacher,
)
from compress.recipes.schema import NewModel, Student, Teacher
from compress.recipes.stages import (
    Export,
    Finetune,
    Pretrain,
    Selection,
    head_of,
)
from compress.recipes.values import Frozen, Training
from compress.sources import STARTING_STAGES, TRAINABLE_STAGES, Model, list_ancestors, resolve_model
from compress.steps import Step, Workplace
from compress.tasks import Task, resolve_task

Part = TypeVar("Part", bound=Frozen)


@dataclass(frozen=True)
class Teaching:
    """What the command line may change of a student's way of being taught; None is as in the student's file.

    Attributes:
        method: Its name.
        budget: Whose schedule.
        corpus: Documents of the general stage.
        general: Whether there is a general stage, where the method has one.
        general_seed: Of that stage, so that several task seeds share one general student.
        copies: Augmented texts of each; 0 makes none.
        temperature: Of the last stage's soft labels.
        soft_weight: Of the last stage's soft labels; 0 drops them.
        hard_weight: Of the last stage's gold labels; 0 drops them.
        teacher_weights: Of several teachers, in their order; default equal.
        allow_weak_teacher: Go on with a teacher that is no better than a constant.
    """

    method: str | None = None
    budget: str | None = None
    corpus: str | None = None
    general: bool = True
    general_seed: int = 42
    copies: int | None = None
    temperature: float | None = None
    soft_weight: float | None = None
    hard_weight: float | None = None
    teacher_weights: Sequence[float] | None = None
    allow_weak_teacher: bool = False


@dataclass(frozen=True)
class Schooling:
    """What the command line may change of a model's way of being pretrained; None is as in the teacher's file.

    Attributes:
        budget: Whose schedule.
        tokenizer: The model whose tokenizer is taken, in the place of one that is trained.
        vocab_size: Of the tokenizer that is trained.
        arrangement: Which sentences make an example together.
        max_minutes: Of work.
        max_tokens: That are read.
    """

    budget: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    arrangement: str | None = None
    max_minutes: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Options:
    """What the command line may change of a recipe; names are the recipe's fields.

    Attributes:
        training: Of `Training`; in a chain of stages, of the last.
        select_on: Where early stopping looks.
        distillation: Of a student's way of being taught.
        pretraining: Of a model's way of being pretrained.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    select_on: Selection = "holdout"
    distillation: Teaching = field(default_factory=Teaching)
    pretraining: Schooling = field(default_factory=Schooling)


def plan_finetuning(
    model: str,
    task: str,
    workplace: Workplace,
    *,
    seed: int,
    options: Options,
    tokenizer: str | None = None,
    random: bool = False,
) -> Step:
    """Plan to fine-tune a model, or a student or a teacher's shape from random weights over another's tokenizer.

    Raises:
        UnknownNameError: The model or the task is unknown.
        InvalidInputError: The task's data or an option is wrong, or random weights came without a tokenizer.
    """
    if tokenizer is None:
        if random:
            raise InvalidInputError(
                f"Random weights of {model!r} have no vocabulary.", "Say whose they take: --tokenizer MODEL"
            )
        if _is_student(model, tokenizer):
            raise InvalidInputError(
                f"The student {model!r} has no vocabulary of its own.",
                "Say whose it takes: --tokenizer TEACHER",
            )
        source = resolve_model(model, store=workplace.store, stages=STARTING_STAGES)
        data = load_examples(task, workplace, select_on=options.select_on)
        return finetuning_step(source, data, task, workplace, seed=seed, options=options)
    recipe = _recipe_of(model, tokenizer, random=random)
    source = resolve_model(tokenizer, store=workplace.store, stages=STARTING_STAGES)
    data = load_examples(task, workplace, select_on=options.select_on)
    if isinstance(recipe, Student):
        usual = recipe.training
        anew: dict[str, Any] = {
            "student": without_defaults(recipe).model_copy(update={"initialize": "random"})
        }
    else:
        usual = recipe.training_on(data.task.name)
        anew = {"new": NewModel(family=recipe.family, architecture=recipe.architecture)}
    training = decide_training(usual, options.training)
    config = build_config(recipe.architecture, recipe.family, load_tokenizer(source.path))
    require_positions(config, training.max_length)
    stage = Finetune(training=training, select_on=options.select_on, **anew)
    return Step(recipe.name, stage, {"tokenizer": source}, data, task, seed, workplace.store)


def _recipe_of(model: str, tokenizer: str, *, random: bool) -> Student | Teacher:
    """What is built with random weights and somebody's tokenizer: a student, or, if that is asked for, a teacher's shape.

    Of a name that both have (`bert-mini`) it is then the teacher's: a student of that name may have another shape.

    Raises:
        InvalidInputError: It is neither, but a model.
    """
    if random and not _is_student(model, tokenizer=None) and _is_teacher(model):
        return resolve_teacher(model)
    if _is_student(model, tokenizer):
        return resolve_student(model)
    raise InvalidInputError(
        f"{model!r} brings its own tokenizer.",
        "Leave out --tokenizer: it is for students, and for the shapes of teachers with random weights (--random).",
    )


def plan_export(
    model: str, workplace: Workplace, *, seed: int, stage: Export, task: str | None = None
) -> Step:
    """Plan to write a finished run (or any classifier, if its task is named) in another format.

    Raises:
        UnknownNameError: The model is unknown.
        InvalidInputError: It is no finished run and no task was named, or it has no classifier for the task.
        CompressError: The format's package is missing, or the model is a graph already, or in fewer bits.
    """
    if stage.format == "openvino" and installed_version("openvino") is None:
        raise CompressError(
            "The format openvino needs openvino, which is not installed here.",
            "Install it: pip install 'compress-encoders[openvino]'.",
        )
    source, task, data = find_classifier(model, task, workplace)
    return Step(source.name, stage, {"model": source}, data, task, seed, workplace.store)


def task_of(model: Model) -> str:
    """The task that a run was made for, as its user named it.

    Raises:
        InvalidInputError: The model is no run.
    """
    if model.run is None:
        raise InvalidInputError(
            f"{model.name!r} is no run, so its task is not known.", "Name it: --task TASK"
        )
    if model.run.run.task is None:
        raise InvalidInputError(
            f"{model.name!r} was taught no task: it is a {model.run.run.stage.kind} run.",
            "Name one: --task TASK",
        )
    return model.run.run.subject


def decide_training(training: Training, changes: Mapping[str, Any]) -> Training:
    """A recipe's schedule with the user's changes, its precision decided for this machine.

    Raises:
        InvalidInputError: A value is out of range.
    """
    changed = change_recipe(training, changes)
    return changed if changed.bf16 is not None else change_recipe(changed, {"bf16": multiplies_bfloat16()})


def finetuning_step(
    source: Model, data: TaskData, task: str, workplace: Workplace, *, seed: int, options: Options
) -> Step:
    """The step that fine-tunes a model as its recipe says, with the user's changes."""
    teacher = source.teacher or _pretrained_teacher(source)
    usual = teacher.training_on(data.task.name) if teacher else Training()
    stage = Finetune(training=decide_training(usual, options.training), select_on=options.select_on)
    require_positions(load_config(source.path), stage.training.max_length)
    return Step(source.name, stage, {"model": source}, data, task, seed, workplace.store)


def _pretrained_teacher(source: Model) -> Teacher | None:
    """The recipe of a teacher whose pretraining was gone on with here."""
    continued = source.run is not None and isinstance(source.run.run.stage, Pretrain)
    return resolve_teacher(source.name) if continued and source.name in list_recipes("teachers") else None


def load_examples(task: str, workplace: Workplace, *, select_on: Selection = "holdout") -> TaskData:
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


def change_recipe(recipe: Part, changes: Mapping[str, Any]) -> Part:
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


def without_defaults(student: Student) -> Student:
    """A student as a run records it: what its file says of methods is resolved in the stage."""
    return student.model_copy(update={"distill": Distillation()})


def _is_teacher(name: str) -> bool:
    """Whether a model's name is a teacher's, or that of a file, which is one if it is no student's."""
    return name.endswith(".toml") or name in list_recipes("teachers")


def _is_student(name: str, tokenizer: str | None) -> bool:
    """Whether a model's name is a student's: a recipe that says where no weights come from.

    A name that is a teacher's as well (`bert-mini`) is the student's where a tokenizer is named for it.
    """
    if name.endswith(".toml"):
        return Path(name).is_file() and not {"source", "vocab_size"} & read_fields(Path(name)).keys()
    if name not in list_recipes("students") or Path(name).is_dir():
        return False
    return tokenizer is not None or name not in list_recipes("teachers")


def find_classifier(
    name: str, task: str | None, workplace: Workplace, *, select_on: Selection = "holdout"
) -> tuple[Model, str, TaskData]:
    """A model that is to be made smaller, the task that it answers as its user named it, and the task's examples.

    Args:
        name: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        task: That it answers; None is the run's own.
        workplace: Where to look.
        select_on: Where early stopping would look.

    Raises:
        UnknownNameError: The model is unknown.
        InvalidInputError: It is no finished run and no task was named, or it has no classifier for the task.
        CompressError: It is a graph, or its weights are in fewer bits.
    """
    source = resolve_model(name, store=workplace.store, stages=TRAINABLE_STAGES)
    require_start(source.path, load_config(source.path))
    subject = task_of(source) if task is None else task
    data = load_examples(subject, workplace, select_on=select_on)
    if not answers_task(source.path, data.task):
        raise InvalidInputError(
            f"{source.name!r} has no classifier for the labels of {data.task.name!r}.",
            f"Fine-tune it first: compress finetune MODEL --task {subject}",
        )
    return source, subject, data


def plan_where_it_began(source: Model, name: str, plan: Callable[[Model], Step]) -> Step:
    """Plan from a model's newest run; or, where that came of the same command, from the run that the command began with.

    So a command that is repeated, or was cut off between its stages, finds what it has made, though that is the newest
    by now. Who means just the newest names its own directory.

    Args:
        source: The newest run.
        name: What the user typed.
        plan: The command, from a model on.

    Raises:
        CompressError: It cannot be carried out.
    """
    for ancestor in list_ancestors(source, name):
        with suppress(CompressError):
            step = plan(ancestor)
            if source.key in {part.key for part in step.unfold()}:
                return step
    return plan(source)


def knows_task(model: Model, task: Task) -> bool:
    """Whether a model already answers a task: it was fine-tuned on it, here or elsewhere."""
    if model.run is not None:
        learned = model.run.run.task.name if model.run.run.task else None
        if learned != task.name or head_of(model.run.run.stage) != "task":
            return False
    return answers_task(model.path, task)
