"""From a pruning command to its steps: what goes, whether it can, what it will leave, and who teaches what is left.

A model that is to recover loses its parts in rounds. Each round is two stages, which are runs of their own: it is
pruned, then distilled from the model as it was before all of them (or from another teacher).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PretrainedConfig

from compress.data.task_data import TaskData
from compress.distillation.objective import compare_models, describe_comparison
from compress.encoder import answers_task, load_config, load_tokenizer
from compress.errors import InvalidInputError
from compress.models.dimensions import resize_config
from compress.planning import Options, decide_training, knows_task, load_examples, task_of
from compress.pruning.plan import describe_passes, plan_passes
from compress.pruning.rounds import part_into_rounds
from compress.pruning.targets import Target, meet_target
from compress.recipes.stages import Distill, Finetune, Prune
from compress.recipes.terms import HiddenTerm, SoftTerm, Term
from compress.recipes.values import Training
from compress.sources import TRAINABLE_STAGES, Model, resolve_model
from compress.steps import Step, Workplace

TEMPERATURE = 2.0
"""Of the soft labels that a pruned model recovers by."""


@dataclass(frozen=True)
class Recovery:
    """How a pruned model recovers.

    Attributes:
        rounds: In how many the parts go, with distillation after each.
        teacher: Who teaches; None is the model as it was.
        allow_weak_teacher: Go on with a teacher that is no better than a constant.
        options: Changes to the schedule, which is otherwise the one that the model was made by.
    """

    rounds: int = 1
    teacher: str | None = None
    allow_weak_teacher: bool = False
    options: Options = field(default_factory=Options)


def plan_pruning(
    model: str,
    workplace: Workplace,
    *,
    seed: int,
    stage: Prune,
    task: str | None = None,
    target: Target | None = None,
    recovery: Recovery | None = None,
) -> Step:
    """Plan to prune a finished run (or any classifier, if its task is named).

    Args:
        model: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        workplace: Where to work.
        seed: Of what is drawn, where draws or texts decide, and of the recovery.
        stage: What goes, and who judges.
        task: Scored afterwards; default the run's own.
        target: A size that decides on some of the fractions.
        recovery: How it is taught afterwards; None leaves it as it is.

    Raises:
        UnknownNameError: The model is unknown.
        InvalidInputError: It is no finished run and no task was named; it has no classifier for the task; or it cannot
            lose what is asked.
    """
    source = resolve_model(model, store=workplace.store, stages=TRAINABLE_STAGES)
    _require_weights(source)
    if task is None:
        task = task_of(source)
    config = load_config(source.path)
    if target is not None:
        stage = stage.model_copy(update={"remove": meet_target(config, stage.remove, target)})
    passes = plan_passes(config, stage.remove)
    data = load_examples(task, workplace, select_on=recovery.options.select_on if recovery else "holdout")
    if not answers_task(source.path, data.task):
        raise InvalidInputError(
            f"{source.name!r} has no classifier for the labels of {data.task.name!r}.",
            f"Fine-tune it first: compress finetune MODEL --task {task}",
        )
    if recovery is None:
        details = describe_passes(config, passes)
        return Step(source.name, stage, {"model": source}, data, task, seed, workplace.store, details)
    return _plan_rounds(source, config, stage, data, task, workplace, seed=seed, recovery=recovery)


def _plan_rounds(
    source: Model,
    config: PretrainedConfig,
    stage: Prune,
    data: TaskData,
    task: str,
    workplace: Workplace,
    *,
    seed: int,
    recovery: Recovery,
) -> Step:
    """Pruned, taught, pruned further, taught again."""
    if stage.remove.sparsity:
        raise InvalidInputError(
            "Recovery moves all weights, the zeros of --sparsity with them.",
            "Recover first, without --sparsity; then remove single weights of the result.",
        )
    teacher = _find_teacher(source, data, task, workplace, recovery)
    same_tokens = stage.remove.vocabulary is None and _same_tokens(source, teacher)
    learned = _plan_recovery(source, recovery, same_tokens=same_tokens)
    before: Model | Step = source
    for remove in part_into_rounds(config, stage.remove, recovery.rounds):
        passes = plan_passes(config, remove)
        pruning = stage.model_copy(update={"remove": remove})
        inputs: Mapping[str, Model | Step] = {"model": before}
        lost = describe_passes(config, passes)
        pruned = Step(source.name, pruning, inputs, data, task, seed, workplace.store, lost)
        config = resize_config(config, passes[-1].after)
        compared = compare_models(learned.terms, student=config, teacher=load_config(teacher.path))
        inputs = {"teacher": teacher, "student": pruned}
        taught = tuple(map(describe_comparison, compared))
        before = Step(source.name, learned, inputs, data, task, seed, workplace.store, taught)
    if not isinstance(before, Step):
        raise InvalidInputError("Nothing would be removed.", "Say what: --ffn 0.5, --hidden 0.25.")
    return before


def _find_teacher(
    source: Model, data: TaskData, task: str, workplace: Workplace, recovery: Recovery
) -> Model:
    """Who teaches: the model as it was, or another that knows the task.

    Raises:
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


def _plan_recovery(source: Model, recovery: Recovery, *, same_tokens: bool) -> Distill:
    """The stage of distillation: soft labels, and hidden states where teacher and student read the same tokens."""
    soft = SoftTerm(temperature=TEMPERATURE)
    terms: tuple[Term, ...] = (soft, HiddenTerm()) if same_tokens else (soft,)
    options = recovery.options
    return Distill(
        student=None,
        method="recovery",
        terms=terms,
        training=decide_training(_usual_training(source), options.training),
        select_on=options.select_on,
        allow_weak_teacher=recovery.allow_weak_teacher,
    )


def _same_tokens(one: Model, other: Model) -> bool:
    same: bool = load_tokenizer(one.path).get_vocab() == load_tokenizer(other.path).get_vocab()
    return one.path == other.path or same


def _usual_training(source: Model) -> Training:
    """The schedule by which a model was made, if it was taught its task here."""
    stage: Any = source.run.run.stage if source.run else None
    return stage.training if isinstance(stage, Finetune | Distill) else Training()


def _require_weights(source: Model) -> None:
    graphs = [file.name for suffix in ("onnx", "xml") for file in source.path.glob(f"*.{suffix}")]
    if graphs and not any(source.path.glob("*.safetensors")):
        raise InvalidInputError(
            f"{source.name!r} is an exported graph ({graphs[0]}), and pruning takes a PyTorch model.",
            "Prune the model that it was made from, and export or quantize that again.",
        )
