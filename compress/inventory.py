"""What lies in a store: finished runs, unfinished ones, and which of them newer ones supersede. Changes nothing."""

import contextlib
import fcntl
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from compress.errors import CompressError, InvalidInputError
from compress.kinds import kind_of
from compress.recipes.values import Frozen
from compress.runs import (
    CACHES,
    CHECKPOINTS,
    LOCK_FILE,
    REDO_SUFFIX,
    RUN_FILE,
    Run,
    Score,
    StoredRun,
    read_run,
)
from compress.storage import bytes_below

State = Literal["finished", "unfinished", "unreadable"]

_RUN_FOLDER = re.compile(rf"[a-z]+-[0-9a-f]{{8}}({re.escape(REDO_SUFFIX)})?")


class Entry(Frozen):
    """A run's directory, finished or not.

    `id` is the directory as seen from the store. `held` says that a process is at work on it; `superseded_by` names
    the newest run of the same kind; `parents` are the runs it was made from; `scores` holds the primary score of
    each split. `artefact_bytes` is None where nothing is finished.
    """

    id: str
    state: State
    task: str
    model: str
    stage: str
    scores: dict[str, Score]
    artefact_bytes: int | None = None
    disk_bytes: int
    changed: datetime
    held: bool
    superseded_by: str | None = None
    parents: tuple[str, ...] = ()


class Inventory(Frozen):
    """All runs of a store, oldest first, and what is kept of teachers, corpora and augmented texts takes."""

    store: str
    entries: tuple[Entry, ...]
    cache_bytes: int


def survey(store: Path) -> Inventory:
    """Look through a store."""
    found = {folder.relative_to(store).as_posix(): _read(folder) for folder in _run_folders(store)}
    # A copy under another name supersedes nothing and is not superseded.
    at_home = [stored.run for id_, stored in found.items() if stored is not None and stored.run.id == id_]
    superseded = find_superseded(at_home)
    entries = [
        _unfinished_entry(store, id_)
        if stored is None
        else _finished_entry(store, id_, stored, superseded if stored.run.id == id_ else {})
        for id_, stored in found.items()
    ]
    return Inventory(
        store=str(store),
        entries=tuple(sorted(entries, key=lambda entry: (entry.changed, entry.id))),
        cache_bytes=sum(bytes_below(store / cache) for cache in CACHES),
    )


def find_superseded(runs: Sequence[Run]) -> dict[str, str]:
    """Id of each superseded run → id of the newest of its kind.

    Two runs are of one kind where task, model, stage with all its settings, and seed are the same, and so are those of
    the runs that they were made from: another seed, rate or kind of parent makes a sibling, not a successor. What is
    left to differ is the data, the machine and the versions.
    """
    by_id = {run.id: run for run in runs}
    ordered = sorted(runs, key=lambda run: (datetime.fromisoformat(run.started), run.id))
    kinds = {run.id: kind_of(run, by_id, seeds=True) for run in ordered}
    newest = {kind: id_ for id_, kind in kinds.items()}
    return {id_: newest[kind] for id_, kind in kinds.items() if newest[kind] != id_}


def select_below(inventory: Inventory, paths: Sequence[Path]) -> tuple[Entry, ...]:
    """The entries at or below some paths, seen from here or from the store; all where no path is named.

    Raises:
        InvalidInputError: A path holds no run of the store.
    """
    store = Path(inventory.store).resolve()
    chosen: set[str] = set()
    for path in paths:
        tops = (path.resolve(), (store / path).resolve())
        below = {
            entry.id
            for entry in inventory.entries
            if any((store / entry.id).is_relative_to(top) for top in tops)
        }
        if not below:
            raise InvalidInputError(
                f"There is no run in {path}, neither seen from here nor from the store {inventory.store}.",
                "See all: compress runs list. Another store: --runs DIR.",
            )
        chosen |= below
    return tuple(entry for entry in inventory.entries if not paths or entry.id in chosen)


def places_of(folder: Path) -> list[Path]:
    """Where a process at work on a run may hold its lock: in the directory, or beside it where it redoes the run."""
    redo = folder.with_name(f"{folder.name}{REDO_SUFFIX}")
    return [place for place in (folder, redo) if place.is_dir()]


@contextlib.contextmanager
def try_hold(folder: Path, *, mode: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Hold a directory against a process that would make its run there; False where one holds it already."""
    try:
        lock = (folder / LOCK_FILE).open("r")
    except FileNotFoundError:
        yield True
        return
    with lock:
        try:
            fcntl.flock(lock.fileno(), mode | fcntl.LOCK_NB)
        except OSError:  # held, or a file system that cannot tell
            yield False
            return
        yield True


def _run_folders(store: Path) -> list[Path]:
    """Directories that hold a finished run, or TASK/MODEL/STAGE-KEY with traces of one that began."""
    folders = [folder for depth in ("*", "*/*", "*/*/*") for folder in sorted(store.glob(depth))]
    return [
        folder
        for folder in folders
        if folder.is_dir()
        and not folder.is_symlink()
        and not any(part.startswith(".") for part in folder.relative_to(store).parts)
        and (_is_unfinished(folder, store) or (_holds_run(folder) and not _is_redone(folder)))
    ]


def _is_unfinished(folder: Path, store: Path) -> bool:
    if len(folder.relative_to(store).parts) != 3 or not _RUN_FOLDER.fullmatch(folder.name):
        return False
    if _is_redone(folder):
        target = folder.with_name(folder.name.removesuffix(REDO_SUFFIX))
        # Killed between its last two steps, it may be the only whole copy: that is for its owner to sort out.
        return _holds_run(target) or not _holds_run(folder)
    return not _holds_run(folder) and any((folder / mark).exists() for mark in (LOCK_FILE, CHECKPOINTS))


def _is_redone(folder: Path) -> bool:
    return folder.name.endswith(REDO_SUFFIX)


def _holds_run(folder: Path) -> bool:
    return (folder / RUN_FILE).is_file()


def _read(folder: Path) -> StoredRun | None:
    if _is_redone(folder) or not _holds_run(folder):
        return None
    try:
        return read_run(folder)
    except CompressError:
        return None


def _unfinished_entry(store: Path, id_: str) -> Entry:
    folder = store / id_
    task, model = (*id_.split("/"), "", "")[:2]
    return Entry(
        id=id_,
        state="unreadable" if _holds_run(folder) and not _is_redone(folder) else "unfinished",
        task=task,
        model=model,
        stage=folder.name.partition("-")[0],
        scores={},
        disk_bytes=bytes_below(folder),
        changed=_last_change(folder),
        held=_is_held(folder),
    )


def _finished_entry(store: Path, id_: str, stored: StoredRun, superseded: dict[str, str]) -> Entry:
    run, folder = stored.run, store / id_
    return Entry(
        id=id_,
        state="finished",
        task=run.place,
        model=run.name,
        stage=run.stage.kind,
        scores=_scores(stored),
        artefact_bytes=run.artefact_bytes,
        disk_bytes=bytes_below(folder),
        changed=datetime.fromisoformat(run.started),
        held=_is_held(folder),
        superseded_by=superseded.get(run.id),
        parents=tuple(parent.run_id for parent in run.parents if parent.run_id is not None),
    )


def _scores(stored: StoredRun) -> dict[str, Score]:
    try:
        evaluations = stored.evaluations
    except CompressError:  # a listing goes on where a report would stop
        return {}
    own = stored.run.place
    primary = {each.split: each.primary for each in evaluations if each.task == own}
    return {split: score for split, score in primary.items() if score is not None}


def _is_held(folder: Path) -> bool:
    for place in places_of(folder):
        with try_hold(place, mode=fcntl.LOCK_SH) as free:
            if not free:
                return True
    return False


def _last_change(folder: Path) -> datetime:
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            times.append(path.lstat().st_mtime)
    return datetime.fromtimestamp(int(max(times)), UTC)
