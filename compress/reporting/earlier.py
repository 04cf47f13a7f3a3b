"""What a run's weights went through before its own stage: by the runs that are known, and beyond them by its lineage."""

from collections.abc import Sequence
from typing import NamedTuple

from compress.kinds import Known, others_than
from compress.recipes.stages import COMPUTED, Finetune, Pretrain, Stage
from compress.runs import Ancestor, Run

GONE_ON_WITH = frozenset({"model", "student"})
"""The roles of parents whose weights a run goes on with."""


class Earlier(NamedTuple):
    """A stage before, and the task or the corpus that it was of."""

    stage: Stage
    place: str


def find_before(run: Run, known: Known) -> Run | None:
    """The known run whose weights a run went on with."""
    found = (known.get(parent.run_id or "") for parent in run.parents if parent.role in GONE_ON_WITH)
    return next((made for made in found if made is not None), None)


def list_before(run: Run, known: Known) -> list[str]:
    """The ids of the known runs whose weights a run went on with, the last one first."""
    others = others_than(run, known)
    before = find_before(run, others)
    return [before.id, *list_before(before, others)] if before else []


def list_earlier(run: Run, known: Known) -> list[Earlier]:
    """The stages that a run's weights went through before its own, as far as they are known, the first one first."""
    others = others_than(run, known)
    parent = find_before(run, others)
    if parent is not None:
        return [*list_earlier(parent, others), Earlier(parent.stage, parent.place)]
    names = [each.run_id for each in run.parents if each.role in GONE_ON_WITH]
    return _read_lineage(run.lineage, names[0]) if names else []


def list_tasks_by_id(run: Run) -> list[str]:
    """The tasks of fine-tuned runs whose weights a run went on with, of which only its record tells, by their ids alone."""
    ids = [each.run_id for each in run.parents if each.role in GONE_ON_WITH and each.run_id]
    return [] if run.lineage else [name.split("/")[0] for name in ids if "/finetune-" in name]


def _read_lineage(lineage: Sequence[Ancestor], name: str | None) -> list[Earlier]:
    """Back from a run as long as each was made of one other: before a distilled one stand its teachers, too."""
    ids = [each.id for each in lineage]
    found: list[Earlier] = []
    for each in reversed(lineage[: ids.index(name) + 1] if name in ids else ()):
        found.append(Earlier(each.stage, each.id.partition("/")[0]))
        if not _has_one_parent(each.stage):
            break
    return found[::-1]


def _has_one_parent(stage: Stage) -> bool:
    if isinstance(stage, Finetune):
        return stage.built_anew is None
    return stage.new is None if isinstance(stage, Pretrain) else isinstance(stage, COMPUTED)
