"""From a quantizing command to its steps: whether the method can run here, and who teaches a model that is to be ready for it."""

from compress.data.task_data import TaskData
from compress.encoder import load_config
from compress.errors import InvalidInputError
from compress.planning import find_classifier, plan_where_it_began
from compress.recipes.quantization import (
    METHODS,
    DynamicInt8,
    QuantizationMethod,
    SelectiveMethod,
    require_installed,
    settle,
)
from compress.recipes.stages import Quantize
from compress.recovery import Recovery, describe_recovery, find_teacher, plan_recovery
from compress.rewriting import require_fit
from compress.sources import Model
from compress.steps import Step, Workplace

DEFAULT_METHOD = DynamicInt8()


def plan_quantization(
    model: str,
    workplace: Workplace,
    *,
    seed: int,
    method: QuantizationMethod = DEFAULT_METHOD,
    task: str | None = None,
    recovery: Recovery | None = None,
) -> Step:
    """Plan to quantize a finished run (or any classifier, if its task is named).

    Args:
        model: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        workplace: Where to work.
        seed: Of the texts that scales are set by, and of the recovery.
        method: How.
        task: Calibrated on, and scored afterwards; default the run's own.
        recovery: How the model is trained beforehand, computing as if it were quantized already (quantization-aware
            training); None quantizes it as it is.

    Raises:
        UnknownNameError: The model is unknown.
        InvalidInputError: It is no finished run and no task was named, it has no classifier for the task, the method
            cannot be trained for, or a module is to be kept that is not there.
        CompressError: The method's packages are missing, it cannot take such a model, or the model is a graph already,
            or in fewer bits.
    """
    require_installed(method)
    method = settle(method)
    select_on = recovery.options.select_on if recovery else "holdout"
    source, task, data = find_classifier(model, task, workplace, select_on=select_on)
    if recovery is not None:
        _require_simulated(method)
    require_fit(method, load_config(source.path))
    left = tuple(f"{what} in full precision: {why}" for what, why in method.leaves.items())

    def plan(start: Model) -> Step:
        inputs: dict[str, Model | Step] = {"model": start}
        if recovery is not None:
            inputs["model"] = _plan_recovery(
                start, method, data, task, workplace, seed=seed, recovery=recovery
            )
            if isinstance(method, SelectiveMethod) and method.max_drop is not None:
                _require_same_holdout(start, seed)
                inputs["reference"] = start
        return Step(start.name, Quantize(method=method), inputs, data, task, seed, workplace.store, left)

    return plan_where_it_began(source, model, plan)


def _plan_recovery(
    source: Model,
    method: QuantizationMethod,
    data: TaskData,
    task: str,
    workplace: Workplace,
    *,
    seed: int,
    recovery: Recovery,
) -> Step:
    """The step that trains a model to lose less by a method."""
    teacher = find_teacher(source, data, task, workplace, recovery)
    rounding = method.model_copy(update={"max_drop": None})  # which is looked for afterwards
    stage = plan_recovery(source, teacher, recovery).model_copy(update={"simulates": rounding})
    compared = describe_recovery(stage, load_config(source.path), teacher)
    inputs = {"teacher": teacher, "student": source}
    return Step(source.name, stage, inputs, data, task, seed, workplace.store, compared)


def _require_same_holdout(reference: Model, seed: int) -> None:
    """Refuse to compare scores on texts that only one of two models was not taught.

    Raises:
        InvalidInputError: A model and its recovery would hold out other parts of the train split.
    """
    if reference.run is not None and reference.run.run.learned_by != seed:
        learned = reference.run.run.learned_by
        raise InvalidInputError(
            f"{reference.name!r} held out texts by seed {learned}, and its recovery would do so by seed {seed}: "
            "--max-drop compares both on what neither was taught.",
            f"Give the recovery the same seed: --seed {learned}",
        )


def _require_simulated(method: QuantizationMethod) -> None:
    if not method.simulated:
        others = [name for name, other in METHODS.items() if other.simulated]
        raise InvalidInputError(
            f"A model cannot be trained for {method.kind}: its rounding is not simulated.",
            f"{', '.join(others)} can be trained for; or leave out --recover.",
        )
