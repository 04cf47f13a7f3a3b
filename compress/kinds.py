"""Runs of one kind: made alike all the way back, whatever weights came of it."""

from collections.abc import Hashable, Mapping

from compress.recipes.stages import COMPUTED
from compress.runs import Run

Known = Mapping[str, Run]
"""Runs by their ids."""


def kind_of(run: Run, known: Known, *, seeds: bool) -> Hashable:
    """What is equal for runs that were made alike.

    Args:
        run: The run.
        known: Those that it may have been made from; of others the name must do, and the stages that it went through.
        seeds: Whether runs from other seeds are of another kind.
    """
    earlier = others_than(run, known)
    parents = []
    for parent in run.parents:
        made = earlier.get(parent.run_id or "")
        parents.append((parent.role, kind_of(made, earlier, seeds=seeds) if made else parent.name))
    stage = run.stage.model_dump_json(exclude={"student": {"description"}, "pieces_from": {"origin"}})
    return run.place, run.name, stage, run.facts.get("stages"), run.seed if seeds else None, tuple(parents)


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
