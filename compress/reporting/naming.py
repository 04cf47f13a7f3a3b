"""What runs are called: the shortest names that tell them apart, by what was done before a seed or a key."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from compress.kinds import Known, others_than
from compress.recipes.stages import Distill, Export, Finetune, Prune, Quantize
from compress.reporting.earlier import find_before, list_earlier
from compress.reporting.lineage import (
    PARTICULARS,
    describe_pruning,
    shorten_run,
    shorten_stage,
    tell_first,
)
from compress.runs import Run

BRIEF = 20
"""As many letters say what was taken away of a model, in the name of what was done to it next."""


def name_runs(runs: Sequence[Run], known: Known) -> dict[str, str]:
    """The shortest name for each run that no other has: name, last stages, and of what was done, seed and key what differs.

    Args:
        runs: That are named.
        known: These, and others that they may have been made from.
    """
    plain = {run.id: " · ".join([run.name, *_last_stages(run, known)]) for run in runs}
    told = _add_detail(runs, plain, shorten_run)
    for tell_earlier in (_tell_pruning, _tell_training, _tell_learning, tell_first):
        told = _add_detail(runs, told, partial(tell_earlier, known=known))
    for tell in PARTICULARS:
        told = _add_detail(runs, told, partial(_tell, tell))
    return tell_apart(runs, told)


def _last_stages(run: Run, known: Known) -> list[str]:
    """What was done to a finished model: the last stage, before it what was taken away of one that was not pruned last."""
    stage = run.stage
    if isinstance(stage, Prune):
        return [shorten_run(run)]
    if isinstance(stage, Quantize | Export):
        return [*_name_pruning(run, known), shorten_run(run)]
    if not (isinstance(stage, Distill) and stage.student is None):
        return []
    others = others_than(run, known)
    before = find_before(run, others)
    if before and isinstance(before.stage, Prune):
        return [*_last_stages(before, others), shorten_run(run)]
    return [*_name_pruning(run, known), shorten_run(run)]


def _name_pruning(run: Run, known: Known) -> list[str]:
    """What was taken away before, or where that is long to tell, that something was."""
    removed = [stage.describe() for stage, _ in list_earlier(run, known) if isinstance(stage, Prune)]
    text = ", ".join(removed)
    return ["pruned" if len(text) > BRIEF else text] if removed else []


def _tell_pruning(run: Run, known: Known) -> str:
    """What was taken away in all stages before."""
    return ", ".join(
        describe_pruning(stage) for stage, _ in list_earlier(run, known) if isinstance(stage, Prune)
    )


def _tell_training(run: Run, known: Known) -> str:
    """What a finished model was taught again for, before its own stage."""
    taught = [
        stage for stage, _ in list_earlier(run, known) if isinstance(stage, Distill) and stage.student is None
    ]
    if not taught:
        return ""
    own = isinstance(run.stage, Quantize) and taught[-1].simulates == run.stage.method
    return "trained for it" if own else shorten_stage(taught[-1])


def _tell_learning(run: Run, known: Known) -> str:
    """How the model that something was done to had learned its task."""
    learned = [
        shorten_stage(stage)
        for stage, _ in list_earlier(run, known)
        if isinstance(stage, Finetune) or (isinstance(stage, Distill) and stage.student)
    ]
    return learned[-1] if learned and _last_stages(run, known) else ""


def _tell(tell: Callable[[Run, Distill], str], run: Run) -> str:
    return tell(run, run.stage) if isinstance(run.stage, Distill) else ""


def tell_apart(runs: Sequence[Run], names: Mapping[str, str]) -> dict[str, str]:
    """The names, by the runs' ids, with seed and key added where several runs share one and differ in them."""
    details: tuple[Callable[[Run], str], ...] = (
        lambda run: f"seed {run.seed}",
        lambda run: run.key,
        lambda run: run.id,
    )
    told = dict(names)
    for detail in details:
        told = _add_detail(runs, told, detail)
    return told


def _add_detail(
    runs: Sequence[Run], names: Mapping[str, str], detail: Callable[[Run], str]
) -> dict[str, str]:
    """Add a detail to the names that several runs share, where it differs between these runs."""
    details: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        details[names[run.id]].add(detail(run))
    return {
        run.id: " · ".join(filter(None, [names[run.id], detail(run)]))
        if len(details[names[run.id]]) > 1
        else names[run.id]
        for run in runs
    }
