"""Arrays that are made once and memory-mapped ever after: a folder of the cache, checked before it is trusted."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import CompressError
from compress.processes import is_main, wait
from compress.recipes.values import Frozen
from compress.runs import SCHEMA_VERSION, hash_file, read_record, write_record
from compress.storage import holding, telling_failed_writes

logger = logging.getLogger(__name__)

ABOUT_FILE = "about.json"


class AboutArrays(Frozen):
    """What a folder of arrays holds; written last, so that what has it is whole."""

    schema_version: int = SCHEMA_VERSION
    corpus: str
    documents: int
    tokens: int
    sha256: dict[str, str]


def map_arrays(
    folder: Path,
    names: Sequence[str],
    *,
    about: type[AboutArrays],
    build: Callable[[], Mapping[str, Any]],
    busy: str,
) -> list[NDArray[Any]]:
    """Map the arrays of a folder, made first where they are not whole.

    The main process makes them while the others of its run wait; a second run that wants the same waits, too.

    Args:
        folder: Made where it is missing.
        names: Of the arrays, which lie in files `NAME.npy`.
        about: The record that is kept beside them.
        build: Writes them, and returns the record's fields but for the sums.
        busy: What another process does that is waited for.

    Raises:
        CompressError: The cache cannot be written.
    """
    if is_main():
        with holding(folder, busy=busy), telling_failed_writes(folder):
            if not _is_whole(folder, names, about):
                facts = build()
                write_record(folder / ABOUT_FILE, about(**facts, sha256=_sums(folder, names)))
    wait()
    return [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]


def _is_whole(folder: Path, names: Sequence[str], about: type[AboutArrays]) -> bool:
    if not (folder / ABOUT_FILE).exists():
        return False
    try:
        whole = read_record(folder / ABOUT_FILE, about).sha256 == _sums(folder, names)
    except (CompressError, OSError):
        whole = False
    if not whole:
        logger.warning("  the tokenized corpus %s is damaged: it is made again", folder.name)
    return whole


def _sums(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {name: hash_file(folder / f"{name}.npy") for name in names}
