"""A user's own file as columns: every cell as it stands in the file, every row where it can be found again.

CSV is read as text and nothing else: `007` stays `007`, `null` is a word, and a column does not change its type with
its rows. So each mistake can be named by row, line and column.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import InvalidInputError, first_line

LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Table:
    """Columns of equal length, and where they came from.

    Attributes:
        where: The file or the split, as the user knows it.
        columns: Name → cells, in order.
        lines: For each row the line of the file that it begins on, counted from 1, where rows have lines.
    """

    where: str
    columns: dict[str, list[Any]]
    lines: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def place(self, row: int, column: str) -> str:
        """Where a cell is to be found."""
        line = f", line {self.lines[row]} of the file" if self.lines else ""
        return f"{self.where}, row {row} (from 0{line}), column {column!r}"


def complain(table: Table, column: str, rows: Sequence[int], problem: str) -> str:
    """What is wrong with the first of several rows, and how many others have the same mistake."""
    message = f"{table.place(rows[0], column)}: {problem}."
    if len(rows) == 1:
        return message
    others = "One other row has" if len(rows) == 2 else f"{len(rows) - 1:,} other rows have"
    return f"{message} {others} the same mistake."


def read_table(path: Path) -> Table:
    """Read a CSV, TSV, JSON Lines, JSON or Parquet file, by its suffix.

    Raises:
        InvalidInputError: It is not what its suffix says, or its rows do not fit its header.
    """
    if path.suffix not in READERS:
        raise InvalidInputError(
            f"{path} is of no known format: its suffix is {path.suffix!r}.",
            f"Bring one of: {', '.join(READERS)}.",
        )
    if path.is_dir():
        raise InvalidInputError(f"{path} is a directory, not a file.", "Name the file in the task file.")
    if not path.exists():
        raise InvalidInputError(f"{path} does not exist.", "Mend the path in the task file.")
    try:
        if path.stat().st_size == 0:
            raise InvalidInputError(f"{path} is empty.", "Bring a file with at least two examples.")
        return READERS[path.suffix](path)
    except OSError as error:
        raise InvalidInputError(
            f"{path} could not be read: {error.strerror or first_line(error)}.", "Mend the file."
        ) from None


def decode(path: Path, content: bytes, *, line: int = 1) -> str:
    """Bytes of a file as text; `line` is that on which they begin.

    Raises:
        InvalidInputError: They are no UTF-8, or hold a NUL byte; the line is named.
    """
    if b"\x00" in content:
        line += content[: content.index(b"\x00")].count(b"\n")
        raise InvalidInputError(
            f"{path}, line {line} of the file: there is a NUL byte, which no text has.",
            "Save the file as UTF-8 (UTF-16 is full of NUL bytes), or remove the byte.",
        )
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += content[: error.start].count(b"\n")
        raise InvalidInputError(
            f"{path}, line {line} of the file: the byte {content[error.start]:#04x} is not UTF-8.",
            "Save the file as UTF-8: iconv -f LATIN1 -t UTF-8 FILE > OTHER (or whatever its encoding is).",
        ) from None


def _read_csv(path: Path) -> Table:
    return _read_cells(path, delimiter=",")


def _read_tsv(path: Path) -> Table:
    return _read_cells(path, delimiter="\t")


def _read_cells(path: Path, *, delimiter: str) -> Table:
    rows = read_cells(path, io.StringIO(decode(path, path.read_bytes()), newline=""), delimiter=delimiter)
    _, header = next(rows, (1, []))
    twice = sorted({name for name in header if header.count(name) > 1})
    if not header or twice:
        found = f"names {twice[0]!r} twice" if twice else "is empty"
        raise InvalidInputError(
            f"{path}: its header {found}.", "Give each column a name of its own in the first line."
        )
    cells: list[list[str]] = []
    lines: list[int] = []
    for line, row in rows:
        if len(row) != len(header):
            raise InvalidInputError(
                f"{path}, row {len(cells)} (from 0, line {line} of the file): it has {len(row)} cells, "
                f"the header has {len(header)}: {', '.join(map(repr, header))}.",
                f"Mend the row; a cell that holds {delimiter!r} or a line break belongs in double quotes.",
            )
        cells.append(row)
        lines.append(line)
    columns = [list(column) for column in zip(*cells, strict=True)] or [[] for _ in header]
    return Table(str(path), dict(zip(header, columns, strict=True)), lines)


def read_cells(path: Path, lines: Iterable[str], *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the line that it begins on: a quoted cell may span several.

    Raises:
        InvalidInputError: Its quotes are not closed, or not doubled.
    """
    with _long_cells():
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        begins = 1
        try:
            for row in reader:
                if row:
                    yield begins, row
                begins = reader.line_num + 1
        except csv.Error as error:
            raise InvalidInputError(
                f"{path}: the row that begins on line {begins} of the file is no {path.suffix[1:].upper()}: {error}.",
                'Close its quotes; a quote within a quoted cell is written twice (""). Or bring JSON Lines.',
            ) from None


@contextmanager
def _long_cells() -> Iterator[None]:
    """A document may be longer than the 131,072 characters that the csv module allows a cell."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_json_lines(path: Path) -> Table:
    rows: list[Any] = []
    lines: list[int] = []
    for number, line in enumerate(decode(path, path.read_bytes()).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise InvalidInputError(
                f"{path}, row {len(rows)} (from 0, line {number} of the file): it is no JSON: "
                f"{error.msg} at character {error.colno}.",
                'Write one JSON object a line, such as {"text": "a fine day", "label": "good"}.',
            ) from None
        lines.append(number)
    return _table_of_objects(path, rows, lines)


def _read_json(path: Path) -> Table:
    """One JSON list of objects, or, under the same suffix, JSON Lines."""
    text = decode(path, path.read_bytes())
    if not text.lstrip().startswith("["):
        return _read_json_lines(path)
    try:
        return _table_of_objects(path, json.loads(text), None)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{path}, line {error.lineno} of the file: it is no JSON: {error.msg} at character {error.colno}.",
            "Mend the line, or write JSON Lines: one object a line.",
        ) from None


def _table_of_objects(path: Path, rows: list[Any], lines: Sequence[int] | None) -> Table:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            line = f", line {lines[number]} of the file" if lines else ""
            raise InvalidInputError(
                f"{path}, row {number} (from 0{line}): it is no JSON object: {row!r:.80}.",
                'Write each row as an object, such as {"text": "a fine day", "label": "good"}.',
            )
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(str(path), {name: [row.get(name) for row in rows] for name in names}, lines)


def _read_parquet(path: Path) -> Table:
    """Class labels that the datasets library stored as numbers come out as their names."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} could not be read as Parquet: {first_line(error)}",
            "Bring the whole file, or give it the suffix of what it is (.csv, .tsv, .jsonl).",
        ) from None
    return Table(str(path), name_classes(columns, _features(table.schema)))


def _features(schema: Any) -> Any:
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except (ValueError, TypeError, KeyError, NotImplementedError):  # a type that only Arrow knows
        return {}


def name_classes(columns: dict[str, list[Any]], features: Any) -> dict[str, list[Any]]:
    """Write class labels by name: the data's own numbering need not be the task's. −1 (unlabelled) stays."""
    from datasets import ClassLabel

    named = dict(columns)
    for column, feature in features.items():
        if isinstance(feature, ClassLabel) and feature.names:
            names = dict(enumerate(feature.names))
            named[column] = [names.get(cell, cell) for cell in columns[column]]
    return named


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
