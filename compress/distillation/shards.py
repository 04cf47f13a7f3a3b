"""Parts of a cache on disk: each is there whole or is made again."""

import logging
from pathlib import Path

from compress.errors import CompressError
from compress.recipes.values import Frozen
from compress.runs import SCHEMA_VERSION, hash_file, read_record, write_atomically, write_record

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
