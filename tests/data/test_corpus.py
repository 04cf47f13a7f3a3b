"""A corpus is found by name, read document after document, and what is wrong with it is named."""

import csv
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from compress.data.corpus import resolve_corpus
from compress.data.documents import LONGEST_LINE, split_lines
from compress.errors import CompressError, InvalidInputError, UnknownNameError

TEXTS = ["A first one.\n\nOf two paragraphs, “quoted”.", "A second, with a comma", 'And a "third".']


def write(file: Path, texts, *, column="text") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": number, column: text} for number, text in enumerate(texts)]
    if file.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    elif file.suffix == ".jsonl":
        file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif file.suffix == ".txt":
        file.write_text("\n".join(texts))
    else:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["id", column], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return file


def read(path) -> list[str]:
    return list(resolve_corpus(str(path)).documents())


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".tsv"])
def test_each_row_is_a_document(tmp_path, suffix):
    file = write(tmp_path / f"my words{suffix}", [TEXTS[0], "", *TEXTS[1:], " \n"])
    corpus = resolve_corpus(str(file))
    assert list(corpus.documents()) == TEXTS
    assert list(corpus.documents()) == TEXTS, "it can be read again"
    assert (corpus.name, corpus.origin) == ("my words", str(file))


def test_a_missing_cell_is_no_document(tmp_path):
    for suffix in (".parquet", ".jsonl"):
        assert read(write(tmp_path / f"a{suffix}", [None, *TEXTS, None])) == TEXTS


def test_a_directory_is_all_its_files_in_the_order_of_their_names(tmp_path, monkeypatch):
    folder = tmp_path / "books.v2"
    write(folder / "b.txt", ["the whole file", "is one document"])
    write(folder / "a" / "z.jsonl", TEXTS[:1])
    write(folder / "c.parquet", TEXTS[1:])
    write(folder / ".hidden" / "d.txt", ["not me"])
    (folder / "README.md").write_text("nor me")
    assert read(folder) == [TEXTS[0], "the whole file\nis one document", *TEXTS[1:]]
    monkeypatch.chdir(folder)
    assert [resolve_corpus(name).name for name in (".", str(folder))] == ["books.v2"] * 2


def test_a_corpus_is_known_by_its_content(tmp_path):
    """Guards a cache that answers for another text, and one that is made again because a folder was moved."""
    one, moved, renamed, changed = (tmp_path / name for name in ("one", "moved", "renamed", "changed"))
    write(one / "a.jsonl", TEXTS), write(moved / "a.jsonl", TEXTS), write(renamed / "b.jsonl", TEXTS)
    write(changed / "a.jsonl", [*TEXTS[:2], TEXTS[2] + "."])
    prints = [resolve_corpus(str(folder)).fingerprint for folder in (one, moved, renamed, changed)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert len(prints[0]) == 16


def test_the_sample_is_there_and_licensed():
    corpus = resolve_corpus("sample")
    documents = list(corpus.documents())
    assert (corpus.name, len(documents)) == ("sample-corpus", 162)
    assert 900_000 < sum(map(len, documents)) < 1_100_000
    folder = Path(resolve_corpus.__code__.co_filename).parents[1] / "samples" / "corpus"
    rows = parquet.read_table(folder / "documents.parquet").to_pylist()
    assert {row["licence"] for row in rows} == {"public domain", "CC BY 4.0", "CC0 1.0 / public domain"}
    assert all(row["source"] for row in rows)


def test_the_sample_is_not_a_directory_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sample" / "a.txt", ["mine"])
    assert len(read("sample")) == 162
    assert read("./sample") == ["mine"]


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/at-all", "nowhere/a.parquet", "../x/y"])
def test_a_name_that_stands_for_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="There is no corpus") as caught:
        resolve_corpus(name)
    assert "--corpus DIR" in caught.value.fix
    assert "--corpus sample" in caught.value.fix


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}\n', r"row 1 \(from 0, line 2 of the file\) has no column 'text'; it has 'txt'"),
        ("a.jsonl", b'\n{"text": "x"}\n{"text": 3}\n', r"row 1 \(from 0, line 3 of the file\), column 'text': 3 is no text"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\n', r"row 1 \(from 0, line 2 of the file\): it is no JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "caf\xe9"}\n', r"line 2 of the file: the byte 0xe9 is not UTF-8"),
        ("a.csv", b"id,words\n1,x\n", r"has no column 'text'; it has 'id', 'words'"),
        ("a.csv", b"id,text\n1,x\n2\n", r"row 1 \(from 0, line 3 of the file\): it has 1 cells, the header has 2"),
        ("a.csv", b'id,text\n1,x\n2,"y\n', r"row that begins on line 3 of the file is no CSV"),
        ("a.txt", b"a\nb\x00c", r"line 2 of the file: there is a NUL byte"),
        ("a.parquet", b"PAR1 and no more", r"could not be read as Parquet"),
        ("a.txt", b" \n\n", "holds no text"),
        ("a.csv", b"text\n", "holds no text"),
        ("a.doc", b"x", r"no known format: its suffix is '\.doc'"),
    ],
)  # fmt: skip
def test_bad_files_are_named_with_the_place(tmp_path, file, content, problem):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        read(tmp_path / file)
    assert str(tmp_path / file) in caught.value.problem
    assert caught.value.fix


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_file_without_the_column_is_refused_at_once(tmp_path, suffix):
    """Before an hour of tokenizing the files before it."""
    write(tmp_path / "c" / "a.parquet", TEXTS)
    write(tmp_path / "c" / f"b{suffix}", TEXTS, column="words")
    with pytest.raises(InvalidInputError, match=r"b\..*has no column 'text'; it has 'id', 'words'"):
        resolve_corpus(str(tmp_path / "c"))


def test_a_directory_without_documents(tmp_path):
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(InvalidInputError, match="holds no file of documents"):
        resolve_corpus(str(tmp_path))


def test_the_hub_out_of_reach_offers_what_is_here(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        CompressError, match=r"'owner/name:en' .* had from the Hub: Couldn't reach the Hub\n"
    ) as caught:
        resolve_corpus("owner/name:en")
    assert "--corpus DIR" in caught.value.fix
    assert "--corpus sample" in caught.value.fix


def test_a_dataset_of_the_hub(monkeypatch):
    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        return datasets.Dataset.from_dict({"title": list("abcde"), "text": [*TEXTS, "", None]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus = resolve_corpus("owner/some.name:2023.en")
    assert list(corpus.documents()) == TEXTS
    assert (corpus.name, corpus.origin) == ("some.name", "owner/some.name:2023.en")
    assert asked == [(("owner/some.name", "2023.en"), {"split": "train"})]
    assert corpus.fingerprint == resolve_corpus("owner/some.name:2023.en").fingerprint


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"words": ["x"]}, "has no column 'text'; it has 'words'"),
        ({"text": [""]}, "holds no text"),
        ({"text": [1, 2]}, r"row 0 \(from 0\), column 'text': 1 is no text"),
    ],
)
def test_a_dataset_that_is_no_corpus(monkeypatch, columns, problem):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict(columns))
    with pytest.raises(InvalidInputError, match=problem):
        resolve_corpus("owner/name")


def test_lines_are_cut_where_they_are_too_long():
    assert list(split_lines(" one \n\n\t\ntwo\r\nthree")) == ["one", " two", " three"]
    words = "word " * LONGEST_LINE
    pieces = list(split_lines(words))
    assert max(map(len, pieces)) <= LONGEST_LINE + 1
    assert " ".join(map(str.strip, pieces)) == words.strip()
    solid = list(split_lines("x" * (2 * LONGEST_LINE + 5)))
    assert [len(piece.strip()) for piece in solid] == [LONGEST_LINE, LONGEST_LINE, 5]
