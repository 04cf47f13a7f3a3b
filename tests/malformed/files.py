"""Data files that are not of their format."""

import json
from collections.abc import Iterator

from tests.malformed.cases import Case, finetune
from tests.malformed.tables import ROWS, encode, spoiled_split

RAGGED = (3, "line 5 of the file")


def cases() -> Iterator[Case]:
    for suffix, what, content, *mentions in (*_text_files(), *_json_files(), *_parquet_files()):
        for split in ("train", "validation"):
            yield Case(
                "data",
                f"{what}: {split}.{suffix}",
                finetune("own.toml"),
                spoiled_split(split, suffix, content),
                (f"{split}.{suffix}", *mentions),
            )


def _text_files() -> Iterator[tuple]:
    for suffix, comma in (("csv", ","), ("tsv", "\t")):
        good = encode(ROWS, suffix)
        lines = good.split(b"\r\n")
        sound = good.decode()
        row = f"it was good{comma}good\r\n"
        yield (
            suffix,
            "a cell too many",
            sound.replace(f"3{comma}good", f"3{comma}good{comma}x").encode(),
            "row 3 (from 0, line 5",
            "3 cells",
        )
        yield (
            suffix,
            "a cell too few",
            sound.replace(f"3{comma}good", "3").encode(),
            "row 3 (from 0, line 5",
            "1 cells",
        )
        # A quoted cell of three lines comes first: the line is known nevertheless.
        long = f'review{comma}verdict\r\n"one\ntwo\nthree"{comma}bad\r\n\r\n{row}only one cell\r\n'
        yield suffix, "a cell too few after one of three lines", long.encode(), "row 2 (from 0, line 7"
        yield suffix, "an unclosed quote", (sound + f'"it was{comma}good\r\n{row}').encode(), "line 8"
        yield suffix, "words after a quote", (sound + f'"it" was{comma}good\r\n').encode(), "line 8"
        yield suffix, "only a header", lines[0] + b"\r\n", "only a header"
        yield suffix, "no header", b"\r\n".join(lines[1:]), "no column 'review'"
        yield suffix, "a column twice", sound.replace("verdict", "review", 1).encode(), "'review' twice"
        yield suffix, "a NUL byte", good.replace(b"film 2", b"film \x00"), "line 4", "NUL"
        yield suffix, "Latin-1", good.replace(b"film 4", b"caf\xe9"), "line 6", "0xe9"
        yield suffix, "UTF-16", sound.encode("utf-16"), "UTF-8"
        yield suffix, "an empty file", b"", "is empty"
        yield suffix, "only line breaks", b"\n\n\n", "header"
    yield "csv", "tabs for commas", encode(ROWS, "tsv"), "no column"
    yield "csv", "semicolons for commas", encode(ROWS, "csv").replace(b",", b";"), "no column"
    yield "csv", "JSON Lines", encode(ROWS, "jsonl"), "train"[:0]
    yield "csv", "Parquet", encode(ROWS, "parquet"), "line"


def _json_files() -> Iterator[tuple]:
    lines = encode(ROWS, "jsonl").splitlines(keepends=True)

    def with_line(number: int, line: bytes) -> bytes:
        return b"".join([*lines[:number], line + b"\n", *lines[number + 1 :]])

    for what, line in (
        ("a line cut off", b'{"review": "it was'),
        ("single quotes", b"{'review': 'it was', 'verdict': 'good'}"),
        ("a comma at the end", b'{"review": "it was", "verdict": "good",}'),
        ("two objects in a line", lines[0].strip() * 2),
        ("a list in a line", b'["it was", "good"]'),
        ("a word in a line", b'"it was"'),
        ("null in a line", b"null"),
        ("a line of CSV", b"it was,good"),
    ):
        yield "jsonl", what, with_line(2, line), "row 2 (from 0, line 3 of the file)"
    yield "jsonl", "a line without text", with_line(2, b'{"verdict": "good"}'), "row 2", "'review'"
    yield "jsonl", "a line without label", with_line(2, b'{"review": "it was"}'), "row 2", "'verdict'"
    yield "jsonl", "other names", b'{"a": "b"}\n', "no column 'review', 'verdict'"
    yield "jsonl", "a NUL byte", with_line(2, b"\x00"), "line 3", "NUL"
    yield "jsonl", "Latin-1", with_line(2, b'{"review": "caf\xe9", "verdict": "good"}'), "line 3", "0xe9"
    yield "jsonl", "an empty file", b"", "is empty"
    yield "jsonl", "only line breaks", b"\n\n", "no rows"
    yield "json", "a list cut off", json.dumps(ROWS, indent=1).encode()[:-20], "line"
    yield "json", "a list of words", b'["it was", "good"]', "row 0"
    yield "json", "an empty list", b"[]", "no rows"


def _parquet_files() -> Iterator[tuple]:
    good = encode(ROWS, "parquet")
    middle = len(good) // 2
    yield "parquet", "its end cut off", good[:-20], "Parquet"
    yield "parquet", "its second half missing", good[:middle], "Parquet"
    yield "parquet", "its beginning overwritten", b"x" * 60 + good[60:], "parquet"
    yield "parquet", "its footer overwritten", good[:-60] + b"x" * 52 + good[-8:], "Parquet"
    yield "parquet", "CSV", encode(ROWS, "csv"), "Parquet"
    yield "parquet", "an empty file", b"", "is empty"
    yield "parquet", "the magic alone", b"PAR1PAR1", "Parquet"
    yield "parquet", "no rows", _without_rows(), "no rows"


def _without_rows() -> bytes:
    import io

    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS).slice(0, 0), stream)
    return stream.getvalue()
