"""What of a store may go, and its deletion. The choice is a pure function of an inventory; only `delete` acts."""

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from compress.inventory import Entry, Inventory, places_of, try_hold
from compress.recipes.values import Frozen
from compress.runs import CACHES, REDO_SUFFIX, RUN_FILE

Reason = Literal["unfinished", "superseded"]


class Choice(Frozen):
    """What may go, each id with the reason; and what was asked for but stays, each id with what keeps it."""

    chosen: dict[str, Reason]
    kept: dict[str, str]


def choose(inventory: Inventory, *, reasons: Iterable[Reason]) -> Choice:
    """Which entries a cleaning may delete.

    These stay in any case: what a process holds; superseded runs of a task in which a run is being made, or cannot be
    read, for that may have been made from them; and parents of anything that stays.
    """
    wanted = frozenset(reasons)
    chosen: dict[str, Reason] = {}
    kept: dict[str, str] = {}
    opaque = {
        entry.task: entry.id for entry in inventory.entries if entry.held or entry.state == "unreadable"
    }
    for entry in inventory.entries:
        reason = _reason(entry)
        if reason is None or reason not in wanted:
            continue
        if entry.held:
            kept[entry.id] = "another process is at work on it"
        elif reason == "superseded" and entry.task in opaque:
            kept[entry.id] = f"{opaque[entry.task]} is being made or cannot be read, and may need it"
        else:
            chosen[entry.id] = reason
    while needed := _parents_of_kept(inventory, chosen):
        for parent, child in needed.items():
            del chosen[parent]
            kept[parent] = f"{child} was made from it"
    return Choice(chosen=chosen, kept=kept)


def cache_may_go(inventory: Inventory) -> bool:
    """Whether no run is being made, which might read the cache."""
    return inventory.cache_bytes > 0 and not any(entry.held for entry in inventory.entries)


def delete(store: Path, entry: Entry) -> bool:
    """Delete a run's directory, unless a process has taken hold of it, or finished it, since the survey.

    Returns:
        Whether it is gone.
    """
    folder = store / entry.id
    with contextlib.ExitStack() as locks:
        if not all(locks.enter_context(try_hold(place)) for place in places_of(folder)):
            return False
        finished = (folder / RUN_FILE).is_file() and not folder.name.endswith(REDO_SUFFIX)
        if not folder.is_dir() or finished != (entry.state == "finished"):
            return False
        doomed = folder.with_name(f".{folder.name}.deleting")
        folder.rename(doomed)  # from here on nobody reads half a run
        shutil.rmtree(doomed)
    for above in (folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # not empty
            above.rmdir()
    return True


def delete_cache(store: Path) -> None:
    """Delete what is kept of teachers, corpora and augmented texts."""
    for cache in CACHES:
        if (store / cache).exists():
            shutil.rmtree(store / cache)


def _reason(entry: Entry) -> Reason | None:
    if entry.state == "unfinished":
        return "unfinished"
    return "superseded" if entry.superseded_by is not None else None


def _parents_of_kept(inventory: Inventory, chosen: dict[str, Reason]) -> dict[str, str]:
    """Chosen entry → an entry that stays and was made from it."""
    return {
        parent: entry.id
        for entry in inventory.entries
        if entry.id not in chosen
        for parent in entry.parents
        if parent in chosen
    }
