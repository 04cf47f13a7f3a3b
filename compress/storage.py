"""The disk: is there room, may we write, and what a write that failed means. Knows no runs."""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compress.errors import CompressError, first_line

logger = logging.getLogger(__name__)

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""A full disk, a spent quota, a file larger than the limit."""
OTHER_STORE = "Choose another store with --runs DIR"


def require_space(directory: Path, needed: int) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        directory: Where it will be written; need not be there yet.
        needed: Bytes.

    Raises:
        CompressError: Fewer are free.
    """
    free = shutil.disk_usage(nearest_directory(directory)).free
    if free < needed:
        raise CompressError(
            f"This needs about {show_bytes(needed)} in {directory}, and {show_bytes(free)} are free there.",
            f"Free some. {OTHER_STORE} on a disk that has room.",
        )


def require_writable(directory: Path) -> None:
    """Refuse to begin what could not be kept.

    Raises:
        CompressError: Nothing can be written in the directory, or below what there is of its path.
    """
    nearest = nearest_directory(directory)
    if not nearest.is_dir():
        raise CompressError(f"{directory} cannot be written: {nearest} is no directory.", f"{OTHER_STORE}.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise CompressError(
            f"{directory} cannot be written: {nearest} is read-only for this user.",
            f"{OTHER_STORE}, or mend its permissions.",
        )


@contextmanager
def removed_on_failure(file: Path) -> Iterator[None]:
    """Take a file away again where what is checked about it within is not so."""
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def nearest_directory(path: Path) -> Path:
    """The path itself, or the nearest thing above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def bytes_below(directory: Path) -> int:
    """Bytes of all files in a directory and below, links not followed; 0 where there is none."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # deleted meanwhile
                total += (Path(place) / name).lstat().st_size
    return total


@contextmanager
def telling_failed_writes(directory: Path) -> Iterator[None]:
    """Tell every library's way of saying that a write failed in one: safetensors, torch and Arrow each have theirs.

    Raises:
        CompressError: A write failed for want of room, or for a fault of the disk.
    """
    try:
        yield
    except CompressError:
        raise
    except Exception as error:
        if (reason := find_failed_write(error)) is None:
            raise
        raise CompressError(
            f"Writing in {directory} failed: {reason}.",
            f"Make room there; the same command goes on from the last checkpoint. {OTHER_STORE}.",
        ) from None


@contextmanager
def holding(directory: Path, *, busy: str) -> Iterator[None]:
    """Hold a cache's directory against other processes while it is read or built; wait where one holds it already.

    Args:
        directory: Made where it is missing.
        busy: What another process does that is waited for, as the log says it.

    Raises:
        CompressError: It cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise CompressError(
            f"The cache {directory} cannot be written: {error.strerror}.",
            f"{OTHER_STORE}, or mend its permissions.",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("  another process %s; waiting for it", busy)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_failed_write(error: BaseException) -> str | None:
    """Why a write failed, if that is what an error means; None if it means something else."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in NO_ROOM | {errno.EIO, errno.EROFS} else None
    text = str(error)
    if "PytorchStreamWriter failed" in text or "inline_container.cc" in text:
        # What torch was told is lost; the writer reports the file's position only.
        return "the file could not be written to its end (no room, or a limit on the size of files)"
    if type(error).__name__ == "SafetensorError" and "I/O error" in text:
        return first_line(error).partition("I/O error: ")[2] or first_line(error)
    cause = error.__cause__ or error.__context__
    return find_failed_write(cause) if cause is not None else None


def show_bytes(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
