"""A corpus: documents to learn a language from, found by name and read one after the other."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.data.documents import READERS, TEXT, explain_no_column, read_documents
from compress.errors import CompressError, InvalidInputError, UnknownNameError, first_line
from compress.runs import hash_file

SAMPLE = "sample"
SAMPLE_FOLDER = Path(__file__).parent.parent / "samples" / "corpus"
HUB_ID = re.compile(r"(?P<id>[\w.-]+/(?P<name>[\w.-]+))(?::(?P<config>[\w.-]+))?")
"""A dataset of the Hub, and a configuration of it: `OWNER/NAME` or `OWNER/NAME:CONFIG`."""
OTHER_CORPUS = (
    "name a directory or a file of documents with --corpus DIR, "
    "or take the small one shipped with compress: --corpus sample"
)


@dataclass(frozen=True)
class Corpus:
    """Documents, and what decides them.

    Attributes:
        name: As it goes into the names of runs' directories.
        origin: Where it comes from, as the user named it.
        fingerprint: A hash of its content, 16 hex digits.
        documents: Reads them from the beginning, in an order that never changes; none is blank.
    """

    name: str
    origin: str
    fingerprint: str
    documents: Callable[[], Iterator[str]]


def resolve_corpus(name: str) -> Corpus:
    """Find a corpus by name, and see that documents can be read from it.

    Args:
        name: `sample`; the path of a file or of a directory of files (Parquet, JSON Lines, CSV or TSV with a column
            `text`, or plain `.txt`, one document a file); or a dataset of the Hub, `OWNER/NAME` or
            `OWNER/NAME:CONFIG`, whose split `train` is read.

    Raises:
        UnknownNameError: Nothing of that name.
        InvalidInputError: A file cannot be read or has no column `text`, or there are no documents.
        CompressError: The dataset cannot be had from the Hub.
    """
    if name == SAMPLE:
        return _open_files(
            SAMPLE_FOLDER, name=f"{SAMPLE}-corpus", origin=SAMPLE
        )  # the sample task has its name
    path = Path(name)
    if path.exists():
        whole = path.resolve()
        return _open_files(path, name=whole.name if path.is_dir() else whole.stem, origin=name)
    found = HUB_ID.fullmatch(name)
    if found is None or path.suffix in READERS or name.startswith("."):
        raise UnknownNameError(f"There is no corpus {name!r}.", f"Check the path; {OTHER_CORPUS}.")
    return _open_dataset(found["id"], found["config"], name=found["name"], origin=name)


def _open_files(path: Path, *, name: str, origin: str) -> Corpus:
    files = _list_files(path)
    first = [next(read_documents(file), None) for file in files]
    if not any(first):
        raise InvalidInputError(f"The corpus {path} holds no text.", "Bring at least one document.")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()} {hash_file(file)}\n".encode())
    return Corpus(
        name=name,
        origin=origin,
        fingerprint=digest.hexdigest()[:16],
        documents=lambda: (document for file in files for document in read_documents(file)),
    )


def _list_files(path: Path) -> list[Path]:
    """The files of documents at a path or anywhere below it, in the order of their names."""
    known = ", ".join(READERS)
    if path.is_file():
        if path.suffix not in READERS:
            raise InvalidInputError(
                f"{path} is of no known format: its suffix is {path.suffix!r}.", f"Bring one of: {known}."
            )
        return [path]
    files = [file for file in path.rglob("*") if file.suffix in READERS and file.is_file()]
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not files:
        raise InvalidInputError(
            f"The directory {path} holds no file of documents.", f"Put some there: {known}."
        )
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def _open_dataset(id_: str, config: str | None, *, name: str, origin: str) -> Corpus:
    """A dataset of the Hub, brought into its cache; Arrow maps it, so memory does not grow with it."""
    import datasets

    try:
        rows = datasets.load_dataset(id_, config, split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise CompressError(
            f"The corpus {origin!r} is no path here and could not be had from the Hub: "
            f"{first_line(error.__cause__ or error)}",
            f"Be online; or {OTHER_CORPUS}.",
        ) from None
    if TEXT not in rows.column_names:
        raise explain_no_column(f"The corpus {origin!r}", rows.column_names)
    if next(_documents_of(rows, origin), None) is None:
        raise InvalidInputError(f"The corpus {origin!r} holds no text.", "Name another.")
    # The library's own: a hash of the dataset's files at their revision, its configuration and its split.
    fingerprint = hashlib.sha256(rows._fingerprint.encode()).hexdigest()[:16]
    return Corpus(
        name=name, origin=origin, fingerprint=fingerprint, documents=lambda: _documents_of(rows, origin)
    )


def _documents_of(rows: Any, origin: str) -> Iterator[str]:
    for number, row in enumerate(rows.select_columns([TEXT])):
        cell = row[TEXT]
        if cell is not None and not isinstance(cell, str):
            raise InvalidInputError(
                f"The corpus {origin!r}, row {number} (from 0), column {TEXT!r}: {cell!r:.80} is no text.",
                "Name a dataset whose documents are strings.",
            )
        if cell and not cell.isspace():
            yield cell
