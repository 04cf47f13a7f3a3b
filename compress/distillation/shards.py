"""Parts of a cache on disk: each is there whole or is made again, and one process at a time makes them."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from compress.errors import CompressError
from compress.recipes.schema import Frozen
from compress.runs import LOCK_FILE, SCHEMA_VERSION, hash_file, read_record, write_atomically, write_record

logger = logging.getLogger(__name__)


class Shard(Frozen):
    """A whole shard: how many rows it has, and the sum of its file."""

    schema_version: int = SCHEMA_VERSION
    rows: int
    sha256: str


def write_shard(file: Path, content: bytes, *, rows: int) -> None:
    """Write a shard, then the record that says that it is whole."""
    write_atomically(file, content)
    write_record(file.with_suffix(".json"), Shard(rows=rows, sha256=hash_file(file)))


def is_whole(file: Path) -> bool:
    """Whether a shard is there as it was written; one that is damaged is told."""
    try:
        shard = read_record(file.with_suffix(".json"), Shard)
        whole = hash_file(file) == shard.sha256
    except (CompressError, OSError):
        return False
    if not whole:
        logger.warning("  %s is damaged: it is made again", file.name)
    return whole


@contextlib.contextmanager
def holding(folder: Path, *, content: str) -> Iterator[None]:
    """Hold a cache against other processes while it is read or built; wait where one holds it already.

    Args:
        folder: Made where it is missing.
        content: What is kept in it, for messages.

    Raises:
        CompressError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise CompressError(
            f"The cache of {content}, {folder}, cannot be written: {error.strerror}.",
            "Choose another store with --runs DIR, or mend its permissions.",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("  another process makes %s; waiting for it", content)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
