"""From a pruning command to its steps: what goes, whether it can, and what it will leave. Computes nothing heavy."""

from compress.encoder import answers_task, load_config
from compress.errors import InvalidInputError
from compress.planning import load_examples, task_of
from compress.pruning.plan import describe_passes, plan_passes
from compress.recipes.stages import Prune
from compress.sources import TRAINABLE_STAGES, Model, resolve_model
from compress.steps import Step, Workplace


def plan_pruning(
    model: str, workplace: Workplace, *, seed: int, stage: Prune, task: str | None = None
) -> Step:
    """Plan to prune a finished run (or any classifier, if its task is named).

    Args:
        model: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        workplace: Where to work.
        seed: Of what is drawn, where draws or texts decide.
        stage: What goes, and who judges.
        task: Scored afterwards; default the run's own.

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
    passes = plan_passes(config, stage.remove)
    data = load_examples(task, workplace)
    if not answers_task(source.path, data.task):
        raise InvalidInputError(
            f"{source.name!r} has no classifier for the labels of {data.task.name!r}.",
            f"Fine-tune it first: compress finetune MODEL --task {task}",
        )
    details = describe_passes(config, passes)
    return Step(source.name, stage, {"model": source}, data, task, seed, workplace.store, details)


def _require_weights(source: Model) -> None:
    graphs = [file.name for suffix in ("onnx", "xml") for file in source.path.glob(f"*.{suffix}")]
    if graphs and not any(source.path.glob("*.safetensors")):
        raise InvalidInputError(
            f"{source.name!r} is an exported graph ({graphs[0]}), and pruning takes a PyTorch model.",
            "Prune the model that it was made from, and export or quantize that again.",
        )
