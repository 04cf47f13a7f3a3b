"""Data files whose cells are wrong, in each format and split: the message names file, row and column."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

from tests.malformed.cases import Case, finetune, to_toml, write_text

FORMATS = ("csv", "tsv", "jsonl", "parquet")
TYPED = ("jsonl", "parquet")
ROWS = [
    {"review": f"a {'lovely' if row % 2 else 'dull'} film {row}", "verdict": ("bad", "good")[row % 2]}
    for row in range(6)
]
TARGETS = [{"review": row["review"], "verdict": number / 2} for number, row in enumerate(ROWS)]


def encode(rows: list[dict], suffix: str) -> bytes:
    """Rows in a format; what CSV cannot say of a cell is an empty one."""
    if suffix == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == "json":
        return json.dumps(rows, indent=1).encode()
    if suffix == "parquet":
        import pyarrow
        from pyarrow import parquet

        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
        return stream.getvalue()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if suffix == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def task_text(suffix: str, **changes: object) -> str:
    fields = {
        "kind": "classification",
        "train": f"train.{suffix}",
        "validation": f"validation.{suffix}",
        "text": ["review"],
        "label": "verdict",
        "metrics": ["accuracy"],
    }
    return to_toml({**fields, **changes})


def spoiled_split(split: str, suffix: str, content: bytes, *, good: list[dict] = ROWS, **changes: object):
    """Both splits are sound but for one."""

    def spoil(directory: Path) -> None:
        for name in ("train", "validation"):
            (directory / f"{name}.{suffix}").write_bytes(content if name == split else encode(good, suffix))
        write_text("own.toml", task_text(suffix, **changes))(directory)

    return spoil


def replaced(rows: list[dict], changes: dict[int, dict]) -> list[dict]:
    return [{**row, **changes.get(number, {})} for number, row in enumerate(rows)]


def cases() -> Iterator[Case]:
    for suffix in FORMATS:
        for split in ("train", "validation"):
            for what, rows, row, column in _wrong_rows(suffix, split):
                yield _case(f"{what} in {split}.{suffix}", split, suffix, rows, row, column)
            for what, rows, row in _wrong_targets(suffix):
                yield _case(
                    f"a target that is {what} in {split}.{suffix}",
                    split,
                    suffix,
                    rows,
                    row,
                    "verdict",
                    good=TARGETS,
                    kind="regression",
                    metrics=["pearson"],
                )
        one = [{**row, "verdict": "good"} for row in ROWS]
        yield _case(f"one label only in train.{suffix}", "train", suffix, one, None, "verdict")
        same = [{**row, "verdict": 1.5} for row in ROWS]
        changes = {"kind": "regression", "metrics": ["pearson"], "good": TARGETS}
        yield _case(f"one target only in train.{suffix}", "train", suffix, same, None, "verdict", **changes)
        ids = [{"review": f"film {row}", "verdict": f"id{row}"} for row in range(40)]
        yield _case(f"a label for each row in train.{suffix}", "train", suffix, ids, None, "verdict")


def _case(what, split, suffix, rows, row, column, good=ROWS, **changes) -> Case:
    mentions = [f"{split}.{suffix}", f"'{column}'"]
    if row is not None:
        # A CSV file's first line is its header; a JSON Lines file has none.
        line = {"parquet": ""}.get(suffix, f", line {row + (1 if suffix == 'jsonl' else 2)} of the file")
        mentions.append(f"row {row} (from 0{line})")
    spoil = spoiled_split(split, suffix, encode(rows, suffix), good=good, **changes)
    return Case("data", what, finetune("own.toml"), spoil, tuple(mentions))


def _wrong_rows(suffix: str, split: str) -> Iterator[tuple[str, list[dict], int, str]]:
    for row in (0, 3, 5):
        yield f"empty text in row {row}", replaced(ROWS, {row: {"review": ""}}), row, "review"
    yield "blank text in two rows", replaced(ROWS, {2: {"review": " "}, 4: {"review": " "}}), 2, "review"
    yield "an empty label", replaced(ROWS, {4: {"verdict": ""}}), 4, "verdict"
    yield "a blank label", replaced(ROWS, {4: {"verdict": "  "}}), 4, "verdict"
    yield "an unlabelled row", replaced(ROWS, {2: {"verdict": "-1"}}), 2, "verdict"
    if split == "validation":
        yield "a label that train has not", replaced(ROWS, {3: {"verdict": "meh"}}), 3, "verdict"
        yield "a label in capitals", replaced(ROWS, {3: {"verdict": "GOOD"}}), 3, "verdict"
    else:
        yield "a label in two spellings", replaced(ROWS, {3: {"verdict": "GOOD"}}), 3, "verdict"
        numbers = [{**row, "verdict": number % 3} for number, row in enumerate(TARGETS)]
        yield "labels with fractions", replaced(numbers, {1: {"verdict": 0.5}}), 1, "verdict"
    if suffix in TYPED:
        yield "a null text", replaced(ROWS, {1: {"review": None}}), 1, "review"
        yield "a null label", replaced(ROWS, {1: {"verdict": None}}), 1, "verdict"
        numbers = [{**row, "review": number} for number, row in enumerate(ROWS)]
        yield "numbers for texts", numbers, 0, "review"
        yield "lists for texts", [{**row, "review": [row["review"]]} for row in ROWS], 0, "review"
        yield "lists for labels", [{**row, "verdict": [row["verdict"]]} for row in ROWS], 0, "verdict"
        yield "nan for a label", [{**row, "verdict": math.nan} for row in ROWS], 0, "verdict"
    if suffix == "jsonl":
        yield "half a character", replaced(ROWS, {2: {"review": "a \ud83d film"}}), 2, "review"


def _wrong_targets(suffix: str) -> Iterator[tuple[str, list[dict], int]]:
    for what, value in (("nan", math.nan), ("infinite", math.inf), ("below infinity", -math.inf)):
        yield what, replaced(TARGETS, {3: {"verdict": value}}), 3
    if suffix != "parquet":  # whose columns have one type
        for what, value in (
            ("a word", "three"),
            ("empty", ""),
            ("a number with a unit", "3 stars"),
            ("1_0", "1_0"),
        ):
            yield what, replaced(TARGETS, {4: {"verdict": value}}), 4
    if suffix in TYPED:
        yield "null", replaced(TARGETS, {1: {"verdict": None}}), 1
    if suffix == "jsonl":
        yield "true", replaced(TARGETS, {1: {"verdict": True}}), 1
