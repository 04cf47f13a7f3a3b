"""From a pruning command to its steps: what goes, whether it can, what it will leave, and who teaches what is left.

A model that is to recover loses its parts in rounds. Each round is two stages, which are runs of their own: it is
pruned, then distilled from the model as it was before all of them (or from another teacher).
"""

from collections.abc import Mapping

from transformers import PretrainedConfig

from compress.data.corpus import resolve_corpus
from compress.data.task_data import TaskData
from compress.encoder import load_config, load_tokenizer
from compress.errors import InvalidInputError
from compress.models.dimensions import resize_config
from compress.planning import find_classifier, plan_where_it_began
from compress.pruning.depth import passes_are_shared
from compress.pruning.plan import describe_passes, plan_passes
from compress.pruning.rounds import part_into_rounds
from compress.pruning.targets import Target, meet_target
from compress.pruning.vocabulary import choose_pieces, count_corpus, count_pieces
from compress.recipes.pruning import Removal
from compress.recipes.stages import CountedCorpus, Prune
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
    corpus: str | None = None,
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
        corpus: Documents that decide which pieces of a vocabulary stay; None is the task's train split.

    Raises:
        UnknownNameError: The model or the corpus is unknown.
        InvalidInputError: It is no finished run and no task was named; it has no classifier for the task; or it cannot
            lose what is asked.
        CompressError: It is a graph, or its weights are in fewer bits.
    """
    select_on = recovery.options.select_on if recovery else "holdout"
    source, task, data = find_classifier(model, task, workplace, select_on=select_on)

    def plan(start: Model) -> Step:
        config, chosen = load_config(start.path), _count_pieces(start, stage, data, corpus)
        _require_effect(config, chosen.remove)
        if target is not None:
            chosen = chosen.model_copy(update={"remove": meet_target(config, chosen.remove, target)})
        passes = plan_passes(config, chosen.remove)
        if recovery is None:
            details = describe_passes(config, passes)
            return Step(start.name, chosen, {"model": start}, data, task, seed, workplace.store, details)
        return _plan_rounds(start, config, chosen, data, task, workplace, seed=seed, recovery=recovery)

    return plan_where_it_began(source, model, plan)


def _count_pieces(source: Model, stage: Prune, data: TaskData, corpus: str | None) -> Prune:
    """The stage, once it is known how many pieces stay and that so many can."""
    wanted = stage.remove.vocabulary
    if wanted is None:
        if corpus is not None:
            raise InvalidInputError(
                "--corpus would do nothing without --vocabulary.",
                "Say how many pieces stay (--vocabulary 8000), or that those do that the corpus uses (--vocabulary used).",
            )
        return stage
    documents = resolve_corpus(corpus) if corpus is not None else None
    tokenizer = load_tokenizer(source.path)
    counts = (
        count_corpus(documents, tokenizer) if documents else count_pieces(data.train.sentences, tokenizer)
    )
    kept = choose_pieces(counts, tokenizer, keep=None if wanted == "used" else wanted)
    origin = CountedCorpus(origin=documents.origin, fingerprint=documents.fingerprint) if documents else None
    remove = stage.remove.model_copy(update={"vocabulary": len(kept)})
    return stage.model_copy(update={"remove": remove, "pieces_from": origin})


def _require_effect(config: PretrainedConfig, remove: Removal) -> None:
    """Refuse what would be said and not be done.

    Raises:
        InvalidInputError: A fraction is so small that rounding leaves everything, or a rule chooses among no layers.
    """
    if remove.layer_rule != "last" and (not remove.layers or passes_are_shared(config)):
        why = "all passes through shared layers are alike" if remove.layers else "no --layers are to go"
        raise InvalidInputError(f"--layer-rule {remove.layer_rule} would do nothing: {why}.", "Leave it out.")
    for each in plan_passes(config, remove) if any(remove.parts()) else ():
        if each.part != "sparsity" and each.after == each.before:
            raise InvalidInputError(
                f"--{each.part} {each.share:g} would remove nothing: {each.describe()}.",
                f"Remove more, or leave out --{each.part}.",
            )


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
        pieces_from = stage.pieces_from if remove.vocabulary else None
        pruning = stage.model_copy(update={"remove": remove, "pieces_from": pieces_from})
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
