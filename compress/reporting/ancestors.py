"""What a report's runs were made from and that answers no task: found in the store, as far as it is still there."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from compress.recipes.stages import head_of
from compress.runs import RUN_FILE, Parent, StoredRun, read_run


def find_ancestors(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs of stages before the task that some runs go back to, in the order of their ids.

    One that is gone from the store, or that has another key than its descendant recorded, is left out: the lineage
    names it all the same. A run that answers a task is gone through only where it is given.

    Args:
        runs: Each lies in a store, below it as its id says; of one that was copied elsewhere nothing is found.

    Raises:
        CompressError: The record of an ancestor is damaged.
    """
    known = {stored.run.id: stored for stored in runs}
    waiting = list(runs)
    while waiting:
        child = waiting.pop()
        for parent in child.run.parents:
            found = None if parent.run_id in known else _find_parent(child, parent)
            if found is not None:
                known[found.run.id] = found
                waiting.append(found)
    given = {stored.run.id for stored in runs}
    return [stored for name, stored in sorted(known.items()) if name not in given]


def _find_parent(child: StoredRun, parent: Parent) -> StoredRun | None:
    root, name = find_store(child), parent.run_id
    if root is None or name is None or not _is_place(name) or not (root / name / RUN_FILE).is_file():
        return None
    found = read_run(root / name)
    same = (found.run.id, found.run.key) == (name, parent.key)
    return found if same and head_of(found.run.stage) != "task" else None


def find_store(stored: StoredRun) -> Path | None:
    """The directory that a run's id is a path below; None where the run does not lie as its id says."""
    path, below = stored.path.absolute(), PurePosixPath(stored.run.id).parts
    return path.parents[len(below) - 1] if below and path.parts[-len(below) :] == below else None


def _is_place(name: str) -> bool:
    """Whether an id is TASK/MODEL/STAGE-KEY; a record must not lead out of its store."""
    parts = name.split("/")
    return len(parts) == 3 and not {"", ".", ".."} & set(parts)
