"""The stages of a method, one after the other: which there are, what each starts from, and whether they can work.

Everything that can be refused is refused here, before the hours of work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from transformers import PretrainedConfig

from compress.data.corpus import resolve_corpus
from compress.data.task_data import TaskData
from compress.distillation.objective import compare_models, describe_comparison
from compress.encoder import build_config, load_config, load_tokenizer, require_positions
from compress.errors import CompressError, InvalidInputError
from compress.feasibility import LearnedFrom, require_possible
from compress.heads import require_mlm_head
from compress.planning import (
    Options,
    Teaching,
    change_recipe,
    decide_training,
    finetuning_step,
    knows_task,
    load_examples,
    without_defaults,
)
from compress.recipes.methods import (
    Augmentation,
    Budget,
    Distillation,
    Logits,
    MethodName,
    MiniLm,
    TinyBert,
    Triple,
)
from compress.recipes.resolve import resolve_student
from compress.recipes.schema import Student
from compress.recipes.stages import Distill, General, Intermediate
from compress.recipes.terms import HardTerm, SoftTerm, Term
from compress.recipes.values import Training
from compress.runs import RUN_FILE, Parent, read_run
from compress.sources import STARTING_STAGES, Model, model_of_run, resolve_model
from compress.steps import Step, Workplace

TEACHER_SEED = 42
"""Of a teacher that is fine-tuned on the way, whatever the student's seed: several students share it."""
METHODS: tuple[MethodName, ...] = get_args(MethodName)
BUDGETS: tuple[Budget, ...] = get_args(Budget)
Staged = TinyBert | MiniLm | Triple
"""Methods whose student learns a language before it learns a task."""


def plan_distillation(
    teachers: Sequence[str],
    student: str,
    task: str | None,
    workplace: Workplace,
    *,
    seed: int,
    options: Options,
) -> Step:
    """Plan to distil a student: for a task, or without one a general-purpose student.

    A teacher that does not know the task yet is fine-tuned first.

    Args:
        teachers: One or several; what is inside a teacher is learned from the first, answers from all.
        student: A student's name or file.
        task: A task, or None.
        workplace: Where to work.
        seed: Of everything random on the task; of the general stage without one.
        options: What the user changes.

    Raises:
        UnknownNameError: Teacher, student, task, method or corpus is unknown.
        InvalidInputError: The task's data or an option is wrong, or the method cannot work with these two models.
    """
    given = options.distillation
    recipe = resolve_student(student)
    name, budget = _chosen(recipe.distill, given)
    method = _method(recipe.distill, name, budget)
    sources = [resolve_model(teacher, store=workplace.store, stages=STARTING_STAGES) for teacher in teachers]
    weights = _teacher_weights(given.teacher_weights or (), teachers)
    course = _Course(recipe, name, budget, sources, weights, given, workplace)
    if task is not None:
        data = load_examples(task, workplace, select_on=options.select_on)
        return _plan_task(course, method, data, task, seed=seed, options=options)
    if isinstance(method, Logits) or not given.general:
        raise InvalidInputError(
            "Without --task the student is a general-purpose one, which takes a method with a general stage; "
            "logits teaches a task.",
            "Name the task (--task sst2, any GLUE task, `sample`, a task file), or take --method tinybert or minilm.",
        )
    _require_none_of_the_task(given, teachers)
    return course.general(method, seed=seed, changes=options.training)


@dataclass(frozen=True)
class _Course:
    """Who teaches whom, and how: what all stages of a chain have in common.

    Attributes:
        recipe: The student's.
        name: The method's.
        budget: The schedule's.
        teachers: What is inside the first is learned, what all answer.
        weights: Of the teachers.
        given: What the user changes.
        workplace: Where to work.
    """

    recipe: Student
    name: MethodName
    budget: Budget
    teachers: Sequence[Model]
    weights: tuple[float, ...]
    given: Teaching
    workplace: Workplace

    @cached_property
    def student(self) -> Student:
        """The student as a run records it."""
        return without_defaults(self.recipe)

    @cached_property
    def language_teacher(self) -> Model:
        """The first teacher as it was before it learned a task."""
        return _before_fine_tuning(self.teachers[0], self.workplace)

    @cached_property
    def configs(self) -> tuple[PretrainedConfig, PretrainedConfig]:
        """The student's and its first teacher's."""
        path = self.teachers[0].path
        ours = build_config(self.recipe.architecture, self.recipe.family, load_tokenizer(path))
        return ours, load_config(path)

    def describe(self, terms: Sequence[Term], training: Training, source: LearnedFrom) -> tuple[str, ...]:
        """What each term compares in these two models.

        Raises:
            InvalidInputError: Heads, layers, widths or positions do not fit, or the data have nothing for a term.
        """
        require_possible(terms, source)
        ours, theirs = self.configs
        require_positions(ours, training.max_length, name="student")
        require_positions(theirs, training.max_length, name="teacher")
        return tuple(map(describe_comparison, compare_models(terms, student=ours, teacher=theirs)))

    def general(self, method: Staged, *, seed: int, changes: Mapping[str, Any]) -> Step:
        """The stage on documents, beside a teacher that was not fine-tuned."""
        teacher = self.language_teacher
        masking = method.masking if isinstance(method, Triple) else None
        corpus = _corpus_name(self.recipe, teacher, self.given)
        stage = General(
            student=self.student,
            method=self.name,
            budget=self.budget,
            terms=method.general.terms,
            masking=masking,
            training=decide_training(method.general.training, changes),
        )
        details = self.describe(stage.terms, stage.training, "masked documents" if masking else "documents")
        if masking:
            require_mlm_head(teacher.path, name=teacher.name)
        store, data = self.workplace.store, resolve_corpus(corpus)
        return Step(self.recipe.name, stage, {"teacher": teacher}, data, corpus, seed, store, details)


def _plan_task(
    course: _Course, method: Logits | Staged, data: TaskData, task: str, *, seed: int, options: Options
) -> Step:
    """The stages on a task, and those before them."""
    given, workplace = course.given, course.workplace
    student: dict[str, Model | Step] = {}
    if given.general and not isinstance(method, Logits):
        student["student"] = course.general(method, seed=given.general_seed, changes={})
    first, *others = (_knowing(teacher, data, task, workplace) for teacher in course.teachers)
    inputs: dict[str, Model | Step] = {"teacher": first}
    augmentation = _augmentation(method, data, given)
    if augmentation:
        inputs["candidates"] = course.language_teacher
    shared: dict[str, Any] = {
        "student": course.student,
        "method": course.name,
        "augmentation": augmentation,
        "select_on": options.select_on,
    }

    def step(stage: Intermediate | Distill, source: LearnedFrom) -> Step:
        details = course.describe(stage.terms, stage.training, source)
        starting = inputs | student
        return Step(course.recipe.name, stage, starting, data, task, seed, workplace.store, details)

    if isinstance(method, TinyBert):
        training = decide_training(method.intermediate.training_on(data.task.name), {})
        terms = method.intermediate.terms
        stage = Intermediate(budget=course.budget, terms=terms, training=training, **shared)
        student["student"] = step(stage, "a task's texts")
    last, usual = _last_stage(method, course.recipe, data)
    final = Distill(
        budget=None if isinstance(method, Logits) else course.budget,
        terms=_reweighted(last, given),
        teacher_weights=course.weights,
        training=decide_training(usual, options.training),
        allow_weak_teacher=given.allow_weak_teacher,
        **shared,
    )
    inputs |= {f"teacher {place}": taught for place, taught in enumerate(others, start=2)}
    return step(final, "a task's answers")


def _require_none_of_the_task(given: Teaching, teachers: Sequence[str]) -> None:
    """Refuse what only a stage on a task could obey, where there is none."""
    said = {
        "a second --teacher": len(teachers) > 1,
        "--copies": given.copies is not None,
        "--temperature": given.temperature is not None,
        "--soft-weight": given.soft_weight is not None,
        "--hard-weight": given.hard_weight is not None,
    }
    unheeded = [name for name, value in said.items() if value]
    if unheeded:
        raise InvalidInputError(
            f"{', '.join(unheeded)} would do nothing without --task.", "Leave it out, or name the task."
        )


def _chosen(usual: Distillation, given: Teaching) -> tuple[MethodName, Budget]:
    name, budget = given.method or usual.method, given.budget or usual.budget
    if name not in METHODS:
        raise InvalidInputError(f"There is no method {name!r}.", f"The methods are: {', '.join(METHODS)}.")
    if budget not in BUDGETS:
        raise InvalidInputError(f"There is no budget {budget!r}.", f"The budgets are: {', '.join(BUDGETS)}.")
    return name, budget


def _method(usual: Distillation, name: MethodName, budget: Budget) -> Logits | Staged:
    if name == "logits":
        return usual.logits
    budgets = {"tinybert": usual.tinybert, "minilm": usual.minilm, "triple": usual.triple}[name]
    found: Staged = getattr(budgets, budget)
    return found


def _last_stage(method: Logits | Staged, recipe: Student, data: TaskData) -> tuple[Sequence[Term], Training]:
    if isinstance(method, Logits):
        return method.terms, recipe.training
    return method.prediction.terms, method.prediction.training_on(data.task.name)


def _augmentation(method: Logits | Staged, data: TaskData, given: Teaching) -> Augmentation | None:
    """The recipe with as many copies as this task gets; None where there are none."""
    usual = method.augmentation if isinstance(method, TinyBert) else Augmentation(copies=0, copies_for={})
    copies = usual.copies_on(data.task.name) if given.copies is None else given.copies
    if usual.min_confidence is not None and data.task.kind == "regression":
        raise InvalidInputError(
            "min_confidence is a probability, and a regression's teacher gives none.",
            "Leave it out of the student's file for this task.",
        )
    return change_recipe(usual, {"copies": copies, "copies_for": {}}) if copies else None


def _reweighted(terms: Sequence[Term], given: Teaching) -> tuple[Term, ...]:
    """The last stage's terms with the command line's weights and temperature.

    Raises:
        InvalidInputError: Nothing would be left to learn, or a value is out of range.
    """
    wanted = {"soft": given.soft_weight, "hard": given.hard_weight}
    known = {term.loss for term in terms}
    kept: list[Term] = [*terms]
    kept += [SoftTerm()] if given.soft_weight and "soft" not in known else []
    kept += [HardTerm()] if given.hard_weight and "hard" not in known else []
    kept = [term for term in kept if wanted.get(term.loss) != 0]
    if not kept:
        raise InvalidInputError(
            "The weights of the soft and the hard labels are both 0: nothing would be learned.",
            "Give one of --soft-weight and --hard-weight a value above 0.",
        )
    changed: list[Term] = []
    for term in kept:
        changes: dict[str, Any] = {"weight": wanted.get(term.loss)}
        if isinstance(term, SoftTerm):
            changes["temperature"] = given.temperature
        changed.append(change_recipe(term, changes))
    return tuple(changed)


def _teacher_weights(weights: Sequence[float], teachers: Sequence[str]) -> tuple[float, ...]:
    if weights and (len(weights) != len(teachers) or min(weights) <= 0):
        raise InvalidInputError(
            f"There are {len(teachers)} teachers and the weights {', '.join(map(str, weights))}.",
            "Give --teacher-weight once for each --teacher, above 0.",
        )
    shares = list(weights) or [1.0] * len(teachers)
    return tuple(share / sum(shares) for share in shares)


def _knowing(source: Model, data: TaskData, task: str, workplace: Workplace) -> Model | Step:
    if knows_task(source, data.task):
        return source
    return finetuning_step(source, data, task, workplace, seed=TEACHER_SEED, options=Options())


def _before_fine_tuning(source: Model, workplace: Workplace) -> Model:
    """The teacher as it was before it learned a task: who teaches language.

    Raises:
        CompressError: It is no longer there, or never was.
    """
    if source.run is None or source.run.run.task is None:
        return source
    parent = next((parent for parent in source.run.run.parents if parent.role == "model"), None)
    found = _find_parent(parent, workplace) if parent else None
    if found is not None:
        return _before_fine_tuning(found, workplace)
    raise CompressError(
        f"{source.name!r} is fine-tuned, and the model that it was made from cannot be found: the general stage and "
        "the augmentation need it.",
        "Name the teacher itself (--teacher minilm-l6), or go without: --no-general --copies 0.",
    )


def _find_parent(parent: Parent, workplace: Workplace) -> Model | None:
    """The model that a run was made from, where it is still what it was."""
    folder = workplace.store / parent.run_id if parent.run_id else None
    if folder is not None and (folder / RUN_FILE).is_file():
        found = model_of_run(read_run(folder))
    else:
        try:
            found = resolve_model(parent.hub_id or parent.name, store=workplace.store)
        except CompressError:
            return None
    return found if found.key == parent.key else None


def _corpus_name(recipe: Student, source: Model, given: Teaching) -> str:
    """The user's corpus, else the one that the teacher was pretrained on here, else the student's."""
    if given.corpus is not None:
        return given.corpus
    if source.run is not None and source.run.run.task is None:
        return source.run.run.subject
    return recipe.distill.corpus
