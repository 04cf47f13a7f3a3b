"""Files that are made of a corpus once and kept: a folder of the cache, checked before it is trusted."""

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


class About(Frozen):
    """What a folder holds; written last, so that what has it is whole."""

    schema_version: int = SCHEMA_VERSION
    corpus: str
    sha256: dict[str, str]


class AboutArrays(About):
    """What a folder of arrays holds."""

    documents: int
    tokens: int


def keep_files(
    folder: Path,
    files: Sequence[str],
    *,
    about: type[About],
    build: Callable[[], Mapping[str, Any]],
    what: str,
    busy: str,
) -> None:
    """Make the files of a folder where they are not whole.

    The main process makes them while the others of its run wait; a second run that wants the same waits, too.

    Args:
        folder: Made where it is missing.
        files: Their names.
        about: The record that is kept beside them.
        build: Writes them, and returns the record's fields but for the sums.
        what: The files are.
        busy: What another process does that is waited for.

    Raises:
        CompressError: The cache cannot be written.
    """
    if is_main():
        with holding(folder, busy=busy), telling_failed_writes(folder):
            if not _is_whole(folder, files, about, what=what):
                facts = build()
                write_record(folder / ABOUT_FILE, about(**facts, sha256=_sums(folder, files)))
    wait()


def map_arrays(
    folder: Path,
    names: Sequence[str],
    *,
    about: type[AboutArrays],
    build: Callable[[], Mapping[str, Any]],
    busy: str,
) -> list[NDArray[Any]]:
    """Map arrays that lie in files `NAME.npy` of a folder; arguments and errors as `keep_files`."""
    files = [f"{name}.npy" for name in names]
    keep_files(folder, files, about=about, build=build, what="tokenized corpus", busy=busy)
    return [np.load(folder / file, mmap_mode="r") for file in files]


def _is_whole(folder: Path, files: Sequence[str], about: type[About], *, what: str) -> bool:
    if not (folder / ABOUT_FILE).exists():
        return False
    try:
        whole = read_record(folder / ABOUT_FILE, about).sha256 == _sums(folder, files)
    except (CompressError, OSError):
        whole = False
    if not whole:
        logger.warning("  the %s %s is damaged: it is made again", what, folder.name)
    return whole


def _sums(folder: Path, files: Sequence[str]) -> dict[str, str]:
    return {file: hash_file(folder / file) for file in files}
