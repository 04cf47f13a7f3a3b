"""The directory in which a run is made: held by one process, in sight of nobody until it is finished."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from compress.errors import CompressError
from compress.runs import CHECKPOINTS, LOCK_FILE, REDO_SUFFIX, RUN_FILE, Run, StoredRun, write_record
from compress.storage import telling_failed_writes


class Workspace:
    """A directory in which one process makes a run, in sight of nobody until it is finished.

    A redone run (`--force`) is made beside the finished one, which stays whole until the new one takes
    its place.
    """

    def __init__(self, target: Path) -> None:
        redoing = (target / RUN_FILE).is_file()
        self.target = target
        self.path = target.with_name(f"{target.name}{REDO_SUFFIX}") if redoing else target
        self._made = [path for path in self.path.parents if not path.exists()]

    @property
    def checkpoints(self) -> Path:
        """Where training leaves what it needs to resume."""
        return self.path / CHECKPOINTS

    @classmethod
    @contextlib.contextmanager
    def open(cls, target: Path) -> Iterator[Self]:
        """Hold the directory against other processes while the run is made.

        Raises:
            CompressError: Another process holds it, or the store cannot be written.
        """
        workspace = cls(target)
        try:
            workspace.path.mkdir(parents=True, exist_ok=True)
            lock = (workspace.path / LOCK_FILE).open("a+")
        except OSError as error:
            workspace.leave_if_empty()
            raise CompressError(
                f"The run's directory {workspace.path} cannot be written: {error.strerror}.",
                "Choose another store with --runs DIR, or mend its permissions.",
            ) from None
        with lock:
            _lock(lock.fileno(), workspace.path)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            # A redone run that a kill kept from taking its place is begun once more: it is finished no longer.
            if workspace.path != target:
                (workspace.path / RUN_FILE).unlink(missing_ok=True)
            try:
                with telling_failed_writes(workspace.path):
                    yield workspace
            except BaseException:
                workspace.drop_half_made()
                workspace.leave_if_empty()
                raise

    def drop_half_made(self) -> None:
        """Delete the artefact's files: they are written anew in any case. What resuming needs lies in directories."""
        if (self.path / RUN_FILE).is_file():
            return  # it was finished before the failure
        for path in self.path.glob("*"):
            if path.is_file() and path.name != LOCK_FILE:
                path.unlink()
        shutil.rmtree(self.path / "evaluations", ignore_errors=True)

    def leave_if_empty(self) -> None:
        """Delete the directory if nothing was made in it that resuming could use, and those made above it."""
        if any(path.is_file() and path.name != LOCK_FILE for path in self.path.rglob("*")):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        for path in self._made:
            with contextlib.suppress(OSError):  # another run's, by now
                path.rmdir()

    def finish(self, run: Run) -> StoredRun:
        """Make the run visible: write `run.json`, drop what only resuming needs, take the target's place."""
        write_record(self.path / RUN_FILE, run)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        if self.path != self.target:
            superseded = self.target.with_name(f".{self.target.name}.superseded")
            shutil.rmtree(superseded, ignore_errors=True)
            self.target.rename(superseded)
            self.path.rename(self.target)
            shutil.rmtree(superseded)
        (self.target / LOCK_FILE).unlink(missing_ok=True)
        return StoredRun(run, self.target)


def complete(target: Path) -> None:
    """Do what a kill in the last moment of a run left undone: a redone run takes its place, checkpoints go."""
    redone = target.with_name(f"{target.name}{REDO_SUFFIX}")
    if not target.exists() and (redone / RUN_FILE).is_file():
        redone.rename(target)
    if (target / RUN_FILE).is_file():
        shutil.rmtree(target / CHECKPOINTS, ignore_errors=True)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (path / LOCK_FILE).read_text(encoding="utf-8") or "unknown"
        raise CompressError(
            f"Another process (pid {holder}) is making the run {path}.",
            "Wait for it to finish, then repeat the command: the result will be there.",
        ) from None
