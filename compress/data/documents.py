"""Files of documents, read one document after the other, so that memory does not grow with them.

A row of a table is a document, or a whole plain file is. `tables.py` reads what fits into memory; a corpus need not.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compress.data.tables import decode, read_cells
from compress.errors import InvalidInputError, first_line

TEXT = "text"
"""The column that holds the documents."""
BATCH_ROWS = 256
LONGEST_LINE = 1 << 16
"""Characters: what is tokenized at once must not be a whole book because it has no line breaks."""
READ_BUFFER = 1 << 20
"""Bytes of a Parquet file that are read at once; without it a whole column of a row group would be."""


def read_documents(path: Path) -> Iterator[str]:
    """Each document of a file that is not blank, in order.

    A Parquet, JSON Lines, CSV or TSV file holds one in each cell of its column `text` (an empty or missing cell is
    none); a `.txt` file is one.

    Raises:
        InvalidInputError: The file is not what its suffix says, has no column `text`, or a cell that is no text.
    """
    try:
        for place, cell in READERS[path.suffix](path):
            if cell is not None and not isinstance(cell, str):
                raise InvalidInputError(
                    f"{path}, {place}, column {TEXT!r}: {cell!r:.80} is no text.",
                    "Write each document as a string.",
                )
            if cell and not cell.isspace():
                yield cell
    except OSError as error:
        raise InvalidInputError(
            f"{path} could not be read: {error.strerror or first_line(error)}.",
            "Mend the file or its permissions.",
        ) from None


def split_lines(document: str) -> Iterator[str]:
    """The lines of a document that are not blank; one that is too long is cut, at spaces where it has any.

    A line that is not its document's first begins with a space, which to a byte-level tokenizer is what begins a word.
    """
    lines = (piece for line in document.splitlines() for piece in _cut_line(line.strip()))
    for place, line in enumerate(lines):
        yield f" {line}" if place else line


def explain_no_column(where: str, columns: list[str]) -> InvalidInputError:
    """What to do where rows have no column of documents."""
    return InvalidInputError(
        f"{where} has no column {TEXT!r}; it has {', '.join(map(repr, columns)) or 'none'}.",
        f"Name the column of documents {TEXT!r}.",
    )


def _cut_line(line: str) -> Iterator[str]:
    while len(line) > LONGEST_LINE:
        end = line.rfind(" ", 1, LONGEST_LINE)
        end = end if end > 0 else LONGEST_LINE
        yield line[:end]
        line = line[end:].lstrip()
    if line:
        yield line


def _read_plain(path: Path) -> Iterator[tuple[str, Any]]:
    yield "the whole", decode(path, path.read_bytes())


def _read_csv(path: Path) -> Iterator[tuple[str, Any]]:
    rows = read_cells(path, _lines(path), delimiter="\t" if path.suffix == ".tsv" else ",")
    _, header = next(rows, (1, []))
    if header.count(TEXT) != 1:
        raise explain_no_column(str(path), header)
    column = header.index(TEXT)
    for number, (line, row) in enumerate(rows):
        place = f"row {number} (from 0, line {line} of the file)"
        if len(row) != len(header):
            raise InvalidInputError(
                f"{path}, {place}: it has {len(row)} cells, the header has {len(header)}.",
                "Mend the row; a cell that holds a delimiter or a line break belongs in double quotes.",
            )
        yield place, row[column]


def _read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    number = -1
    for line, content in enumerate(_lines(path), start=1):
        if content.isspace():
            continue
        number += 1
        place = f"row {number} (from 0, line {line} of the file)"
        try:
            row = json.loads(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidInputError(
                f"{path}, {place}: it is no JSON: {first_line(error)}.",
                'Write one JSON object a line, such as {"text": "Once upon a time …"}.',
            ) from None
        if not isinstance(row, dict) or TEXT not in row:
            raise explain_no_column(f"{path}, {place}", list(row) if isinstance(row, dict) else [])
        yield place, row[TEXT]


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=READ_BUFFER) as file:
            if TEXT not in file.schema_arrow.names:
                raise explain_no_column(str(path), file.schema_arrow.names)
            batches = file.iter_batches(batch_size=BATCH_ROWS, columns=[TEXT])
            cells = (cell for batch in batches for cell in batch.column(0).to_pylist())
            for number, cell in enumerate(cells):
                yield f"row {number} (from 0)", cell
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} could not be read as Parquet: {first_line(error)}",
            "Bring the whole file, or give it the suffix of what it is (.csv, .jsonl, .txt).",
        ) from None


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as stream:
        for number, content in enumerate(stream, start=1):
            yield decode(path, content, line=number)


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_plain,
}
"""By suffix: the place of each cell within its file, and the cell."""
