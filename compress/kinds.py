"""Runs of one kind: made alike all the way back, whatever weights came of it."""

from collections.abc import Hashable, Mapping

from compress.recipes.stages import COMPUTED, Stage
from compress.runs import Parent, Run

Known = Mapping[str, Run]
"""Runs by their ids."""


def kind_of(run: Run, known: Known, *, seeds: bool) -> Hashable:
    """What is equal for runs that were made alike.

    Args:
        run: The run.
        known: Those that it may have been made from; of others what the run's lineage tells must do.
        seeds: Whether runs from other seeds are of another kind.
    """
    earlier = others_than(run, known)
    parents = []
    for parent in run.parents:
        made = earlier.get(parent.run_id or "")
        parents.append(
            (parent.role, kind_of(made, earlier, seeds=seeds) if made else _recall(parent, run, seeds=seeds))
        )
    seed = run.seed if seeds else None
    return run.place, run.name, _tell(run.stage), run.facts.get("stages"), seed, tuple(parents)


def _recall(parent: Parent, run: Run, *, seeds: bool) -> Hashable:
    """What a run tells of a parent that is not known: its name, and how it and what came before it were made."""
    ids = [ancestor.id for ancestor in run.lineage]
    before = run.lineage[: ids.index(parent.run_id) + 1] if parent.run_id in ids else ()
    made = ((each.name, _tell(each.stage), each.seed if seeds else None) for each in before)
    return parent.name, tuple(made)


def _tell(stage: Stage) -> str:
    """A stage as it was asked for, without what only describes it."""
    return stage.model_dump_json(exclude={"student": {"description"}, "pieces_from": {"origin"}})


def seed_of(run: Run, known: Known) -> int:
    """The seed that its weights depend on: where they were computed from others and nothing was drawn, the others'."""
    earlier = others_than(run, known)
    if isinstance(run.stage, COMPUTED):
        for parent in run.parents:
            if parent.role == "model" and (made := earlier.get(parent.run_id or "")):
                return seed_of(made, earlier)
    return run.seed


def others_than(run: Run, known: Known) -> Known:
    """All but a run itself: a record that names itself as its ancestor must not keep us going round."""
    return {name: other for name, other in known.items() if name != run.id}
