"""From a pruning command to its steps: what goes, whether it can, what it will leave, and who teaches what is left.

A model that is to recover loses its parts in rounds. Each round is two stages, which are runs of their own: it is
pruned, then distilled from the model as it was before all of them (or from another teacher).
"""

from collections.abc import Mapping

from transformers import PretrainedConfig

from compress.data.task_data import TaskData
from compress.encoder import load_config
from compress.errors import InvalidInputError
from compress.models.dimensions import resize_config
from compress.planning import find_classifier, plan_where_it_began
from compress.pruning.plan import describe_passes, plan_passes
from compress.pruning.rounds import part_into_rounds
from compress.pruning.targets import Target, meet_target
from compress.recipes.stages import Prune
from compress.recovery import Recovery, describe_recovery, find_teacher, plan_recovery
from compress.sources import Model
from compress.steps import Step, Workplace


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
        CompressError: It is a graph, or its weights are in fewer bits.
    """
    select_on = recovery.options.select_on if recovery else "holdout"
    source, task, data = find_classifier(model, task, workplace, select_on=select_on)

    def plan(start: Model) -> Step:
        config, chosen = load_config(start.path), stage
        if target is not None:
            chosen = stage.model_copy(update={"remove": meet_target(config, stage.remove, target)})
        passes = plan_passes(config, chosen.remove)
        if recovery is None:
            details = describe_passes(config, passes)
            return Step(start.name, chosen, {"model": start}, data, task, seed, workplace.store, details)
        return _plan_rounds(start, config, chosen, data, task, workplace, seed=seed, recovery=recovery)

    return plan_where_it_began(source, model, plan)


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
    teacher = find_teacher(source, data, task, workplace, recovery)
    learned = plan_recovery(source, teacher, recovery, retokenized=stage.remove.vocabulary is not None)
    before: Model | Step = source
    for remove in part_into_rounds(config, stage.remove, recovery.rounds):
        passes = plan_passes(config, remove)
        pruning = stage.model_copy(update={"remove": remove})
        inputs: Mapping[str, Model | Step] = {"model": before}
        lost = describe_passes(config, passes)
        pruned = Step(source.name, pruning, inputs, data, task, seed, workplace.store, lost)
        config = resize_config(config, passes[-1].after)
        inputs = {"teacher": teacher, "student": pruned}
        compared = describe_recovery(learned, config, teacher)
        before = Step(source.name, learned, inputs, data, task, seed, workplace.store, compared)
    if not isinstance(before, Step):
        raise InvalidInputError("Nothing would be removed.", "Say what: --ffn 0.5, --hidden 0.25.")
    return before
