"""The stages of a method, one after the other: which there are, what each starts from, and whether they can work.

Everything that can be refused is refused here, before the hours of work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from compress.data.corpus import resolve_corpus
from compress.data.task_data import TaskData
from compress.distillation.objective import compare_models, describe_comparison
from compress.encoder import build_config, load_config, load_tokenizer
from compress.errors import CompressError, InvalidInputError
from compress.heads import has_mlm_head
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
    StageRecipe,
    TinyBert,
    Triple,
)
from compress.recipes.resolve import resolve_student
from compress.recipes.schema import Student
from compress.recipes.stages import Distill, General, Intermediate
from compress.recipes.terms import ANSWERS, STATES, HardTerm, SoftTerm, Term
from compress.runs import Parent, find_runs
from compress.sources import STARTING_STAGES, Model, model_of_run, resolve_model
from compress.steps import Step, Workplace

TEACHER_SEED = 42
"""Of a teacher that is fine-tuned on the way, whatever the student's seed: several students share it."""
METHODS = ("logits", "tinybert", "minilm", "triple")
BUDGETS = ("published", "small")
Place = Literal["documents", "masked documents", "a task's texts", "a task's answers"]
POSSIBLE: Mapping[Place, frozenset[str]] = {
    "documents": STATES,
    "masked documents": STATES | {"soft", "masked_lm"},
    "a task's texts": STATES,
    "a task's answers": STATES | ANSWERS,
}
"""What a stage learns from → the terms that it can have."""
Method = Logits | TinyBert | MiniLm | Triple


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
    recipe = resolve_student(student)
    given = options.distillation
    name, budget = _chosen(recipe.distill, given)
    method = _method(recipe.distill, name, budget)
    sources = [resolve_model(teacher, store=workplace.store, stages=STARTING_STAGES) for teacher in teachers]
    weights = _teacher_weights(given.teacher_weights or (), teachers)
    if task is None:
        if isinstance(method, Logits) or not given.general:
            raise InvalidInputError(
                "Without --task the student is a general-purpose one, which takes a method with a general stage; "
                "logits teaches a task.",
                "Name the task (--task sst2, any GLUE task, `sample`, a task file), or take --method tinybert or minilm.",
            )
        _require_none_of_the_task(given, teachers)
        given, language = replace(given, general_seed=seed), _before_fine_tuning(sources[0], workplace)
        return _plan_general(recipe, name, budget, method, language, workplace, given, options.training)
    data = load_examples(task, workplace, select_on=options.select_on)
    before: Step | None = None
    if given.general and not isinstance(method, Logits):
        language = _before_fine_tuning(sources[0], workplace)
        before = _plan_general(recipe, name, budget, method, language, workplace, given, {})
    taught_by = [_knowing(source, data, task, workplace) for source in sources]
    bare = without_defaults(recipe)
    augmentation = _augmentation(method, data, given)
    inputs: dict[str, Model | Step] = {"teacher": taught_by[0]}
    if augmentation:
        inputs["candidates"] = _before_fine_tuning(sources[0], workplace)
    if isinstance(method, TinyBert):
        stage = Intermediate(
            student=bare,
            method=name,
            budget=budget,
            terms=method.intermediate.terms,
            augmentation=augmentation,
            training=decide_training(method.intermediate.training_on(data.task.name), {}),
            select_on=options.select_on,
        )
        details = _describe_terms(stage.terms, recipe, sources[0], place="a task's texts")
        before = Step(
            recipe.name, stage, _starting(inputs, before), data, task, seed, workplace.store, details
        )
    last, training = _last_stage(method, recipe, data)
    terms = _reweighted(last, given)
    details = _describe_terms(terms, recipe, sources[0], place="a task's answers")
    final = Distill(
        student=bare,
        method=name,
        budget=None if isinstance(method, Logits) else budget,
        terms=terms,
        teacher_weights=weights,
        augmentation=augmentation,
        training=decide_training(training, options.training),
        select_on=options.select_on,
        allow_weak_teacher=given.allow_weak_teacher,
    )
    inputs |= {f"teacher {place}": taught for place, taught in enumerate(taught_by[1:], start=2)}
    return Step(recipe.name, final, _starting(inputs, before), data, task, seed, workplace.store, details)


def _plan_general(
    recipe: Student,
    name: MethodName,
    budget: Budget,
    method: Method,
    source: Model,
    workplace: Workplace,
    given: Teaching,
    changes: Mapping[str, Any],
) -> Step:
    assert not isinstance(method, Logits)  # noqa: S101 - the callers have asked
    masking = method.masking if isinstance(method, Triple) else None
    corpus_name = _corpus_name(recipe, source, given)
    stage = General(
        student=without_defaults(recipe),
        method=name,
        budget=budget,
        terms=method.general.terms,
        masking=masking,
        training=decide_training(method.general.training, changes),
    )
    details = _describe_terms(
        stage.terms, recipe, source, place="masked documents" if masking else "documents"
    )
    return Step(
        recipe.name,
        stage,
        {"teacher": source},
        resolve_corpus(corpus_name),
        corpus_name,
        given.general_seed,
        workplace.store,
        details,
    )


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


def _starting(inputs: Mapping[str, Model | Step], before: Step | None) -> dict[str, Model | Step]:
    return {**inputs, "student": before} if before else dict(inputs)


def _chosen(usual: Distillation, given: Teaching) -> tuple[MethodName, Budget]:
    name, budget = given.method or usual.method, given.budget or usual.budget
    if name not in METHODS:
        raise InvalidInputError(f"There is no method {name!r}.", f"The methods are: {', '.join(METHODS)}.")
    if budget not in BUDGETS:
        raise InvalidInputError(f"There is no budget {budget!r}.", f"The budgets are: {', '.join(BUDGETS)}.")
    return name, budget  # type: ignore[return-value]


def _method(usual: Distillation, name: MethodName, budget: Budget) -> Method:
    if name == "logits":
        return usual.logits
    budgets = {"tinybert": usual.tinybert, "minilm": usual.minilm, "triple": usual.triple}[name]
    found: Method = getattr(budgets, budget)
    return found


def _last_stage(method: Method, recipe: Student, data: TaskData) -> tuple[Sequence[Term], Any]:
    if isinstance(method, Logits):
        return method.terms, recipe.training
    prediction: StageRecipe = method.prediction
    return prediction.terms, prediction.training_on(data.task.name)


def _augmentation(method: Method, data: TaskData, given: Teaching) -> Augmentation | None:
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
    for stored in find_runs(workplace.store):
        if parent.origin == f"run {stored.run.id}" and stored.run.key == parent.key:
            return model_of_run(stored)
    hub = parent.origin.removeprefix("hub ").split(" ")[0] if parent.origin.startswith("hub ") else None
    try:
        found = resolve_model(hub or parent.name, store=workplace.store)
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


def _describe_terms(
    terms: Sequence[Term], recipe: Student, source: Model, *, place: Place
) -> tuple[str, ...]:
    """What each term compares in these two models.

    Raises:
        InvalidInputError: Heads, layers or widths do not fit, or the terms ask for an MLM head that is not there.
    """
    _require_possible(terms, place)
    theirs = load_config(source.path)
    ours = build_config(recipe.architecture, recipe.family, load_tokenizer(source.path))
    comparisons = compare_models(terms, student=ours, teacher=theirs)
    if place == "masked documents":
        _require_masked_lm_head(source.path, source.name, theirs.model_type)
    return tuple(map(describe_comparison, comparisons))


def _require_possible(terms: Sequence[Term], place: Place) -> None:
    """Refuse terms that a stage's data have nothing for.

    Raises:
        InvalidInputError: There are such terms, or none that a last stage can be scored by.
    """
    allowed = POSSIBLE[place]
    unfit = sorted({str(term.loss) for term in terms} - allowed)
    if unfit:
        raise InvalidInputError(
            f"The terms {', '.join(unfit)} cannot be had of {place}.",
            f"That stage may have {', '.join(sorted(allowed))}: mend its terms in the student's file.",
        )
    if place == "a task's answers" and not any(term.loss in ANSWERS for term in terms):
        raise InvalidInputError(
            "The last stage has no term for the classifier, which would stay as it was drawn.",
            "Add soft or hard to its terms in the student's file.",
        )


def _require_masked_lm_head(path: Path, name: str, model_type: str) -> None:
    if has_mlm_head(path):
        return
    if model_type == "electra":
        raise InvalidInputError(
            f"{name!r} is an ELECTRA discriminator, which has no MLM head: it says which words were replaced, not which "
            "they were; the triple loss needs its guesses.",
            "Take --method tinybert or minilm, or a BERT, RoBERTa or ALBERT teacher.",
        )
    raise InvalidInputError(
        f"{name!r} has no MLM head, and the triple loss needs its guesses.",
        f"Continue its pretraining with one: compress pretrain --from {name} --objective mlm --corpus CORPUS; "
        "or take --method tinybert or minilm.",
    )
