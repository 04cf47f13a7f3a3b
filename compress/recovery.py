"""How a model that was pruned, or is to be rounded, learns its task again: from itself as it was, or from another teacher."""

from dataclasses import dataclass, field

from transformers import PretrainedConfig

from compress.data.task_data import TaskData
from compress.distillation.objective import compare_models, describe_comparison
from compress.encoder import answers_task, load_config, load_tokenizer, require_positions
from compress.errors import InvalidInputError
from compress.planning import Options, decide_training, knows_task
from compress.recipes.stages import Distill, Finetune
from compress.recipes.terms import HiddenTerm, SoftTerm, Term
from compress.recipes.values import Training
from compress.sources import TRAINABLE_STAGES, Model, resolve_model
from compress.steps import Workplace

TEMPERATURE = 2.0
"""Of the soft labels."""


@dataclass(frozen=True)
class Recovery:
    """How a model recovers.

    Attributes:
        rounds: In how many a pruned model's parts go, with distillation after each.
        teacher: Who teaches; None is the model as it was.
        allow_weak_teacher: Go on with a teacher that is no better than a constant.
        options: Changes to the schedule, which is otherwise the one that the model was made by.
    """

    rounds: int = 1
    teacher: str | None = None
    allow_weak_teacher: bool = False
    options: Options = field(default_factory=Options)


def find_teacher(source: Model, data: TaskData, task: str, workplace: Workplace, recovery: Recovery) -> Model:
    """Who teaches: the model as it was, or another that knows the task.

    Raises:
        UnknownNameError: There is no such teacher.
        InvalidInputError: It does not know the task.
    """
    if recovery.teacher is None:
        return source
    teacher = resolve_model(recovery.teacher, store=workplace.store, stages=TRAINABLE_STAGES)
    if not (knows_task(teacher, data.task) and answers_task(teacher.path, data.task)):
        raise InvalidInputError(
            f"The teacher {teacher.name!r} does not know the task {data.task.name!r}.",
            f"Fine-tune it first: compress finetune {recovery.teacher} --task {task}",
        )
    return teacher


def plan_recovery(source: Model, teacher: Model, recovery: Recovery, *, retokenized: bool = False) -> Distill:
    """The stage of distillation: soft labels, and hidden states where teacher and student read the same tokens.

    Args:
        source: The model as it was.
        teacher: Who teaches.
        recovery: How.
        retokenized: Whether the student has lost pieces of its vocabulary.
    """
    soft = SoftTerm(temperature=TEMPERATURE)
    same_tokens = not retokenized and _same_tokens(source, teacher)
    terms: tuple[Term, ...] = (soft, HiddenTerm()) if same_tokens else (soft,)
    options = recovery.options
    return Distill(
        student=None,
        method="recovery",
        terms=terms,
        training=decide_training(usual_training(source), options.training),
        select_on=options.select_on,
        allow_weak_teacher=recovery.allow_weak_teacher,
    )


def describe_recovery(stage: Distill, student: PretrainedConfig, teacher: Model) -> tuple[str, ...]:
    """What the stage's terms compare, in words.

    Raises:
        InvalidInputError: Widths, heads or positions do not fit.
    """
    theirs = load_config(teacher.path)
    require_positions(student, stage.training.max_length)
    require_positions(theirs, stage.training.max_length, name="teacher")
    compared = compare_models(stage.terms, student=student, teacher=theirs)
    return tuple(map(describe_comparison, compared))


def usual_training(source: Model) -> Training:
    """The schedule by which a model, or what it was computed from, was taught its task; the usual one if not here."""
    stages = [ancestor.stage for ancestor in source.run.run.descent] if source.run else []
    taught = [stage.training for stage in stages if isinstance(stage, Finetune | Distill)]
    return taught[-1] if taught else Training()


def _same_tokens(one: Model, other: Model) -> bool:
    same: bool = load_tokenizer(one.path).get_vocab() == load_tokenizer(other.path).get_vocab()
    return one.path == other.path or same
