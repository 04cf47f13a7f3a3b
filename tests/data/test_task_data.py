"""Examples are read as they are, labels aligned by name, mistakes named by file, row and column."""

import json
from dataclasses import replace

import datasets
import numpy as np
import pytest

from compress.data.task_data import hold_out, load_task_data, tokenize
from compress.errors import CompressError, InvalidInputError
from compress.tasks import FilesSource, GlueSource, Task, resolve_task


def task_of(tmp_path, suffix=".csv", **changes):
    fields = {
        "name": "own",
        "kind": "classification",
        "text": ("text",),
        "metrics": ("accuracy",),
        "source": FilesSource(
            train=str(tmp_path / f"train{suffix}"), validation=(str(tmp_path / f"validation{suffix}"),)
        ),
    }
    return Task.model_validate(fields | changes)


def write(tmp_path, train, validation=None, suffix=".jsonl"):
    for name, rows in (("train", train), ("validation", validation or train)):
        dataset = datasets.Dataset.from_list(rows)
        file = tmp_path / f"{name}{suffix}"
        if suffix == ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif suffix == ".csv":
            dataset.to_csv(file)
        else:
            dataset.to_parquet(file)


ROWS = [
    {"text": "good film", "label": "pos"},
    {"text": "N/A", "label": "neg"},
    {"text": "null", "label": "pos"},
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_formats_agree_and_words_like_null_stay_text(tmp_path, suffix):
    write(tmp_path, ROWS, suffix=suffix)
    data = load_task_data(task_of(tmp_path, suffix))
    assert data.train.texts == ["good film", "N/A", "null"]
    assert data.task.labels == ("neg", "pos")
    assert data.train.labels.tolist() == [1, 0, 1]


def test_the_sample_task_is_whole_and_balanced():
    data = load_task_data(resolve_task("sample"))
    assert (len(data.train), len(data.validation[0])) == (8000, 2000)
    assert data.task.labels == ("objective", "subjective")
    assert data.train.labels.mean() == pytest.approx(0.5, abs=0.02)


def test_class_labels_are_aligned_by_name_not_number(tmp_path):
    """Guards silently swapped classes: the file numbers neg 1 and pos 0, the task the other way round."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])}
    )
    rows = {"text": ["good", "bad"], "label": [0, 1]}
    for name in ("train", "validation"):
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{name}.parquet")
    data = load_task_data(task_of(tmp_path, ".parquet", labels=("neg", "pos")))
    assert data.train.labels.tolist() == [1, 0]


def test_pairs_and_regression(tmp_path):
    rows = [{"a": "one", "b": "two", "label": 2.5}, {"a": "three", "b": "four", "label": "4"}]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("a,b,label\none,two,2.5\nthree,four,4\n")
    task = task_of(tmp_path, kind="regression", text=("a", "b"), metrics=("pearson",))
    data = load_task_data(task)
    assert data.train.texts == [(row["a"], row["b"]) for row in rows]
    assert data.train.labels.tolist() == [2.5, 4.0]


@pytest.mark.parametrize(
    ("train", "changes", "complaint"),
    [
        ([{"txt": "a", "label": "x"}], {}, "no column 'text'; it has 'txt', 'label'"),
        (
            [*ROWS, {"text": "  ", "label": "pos"}],
            {},
            "train.jsonl, row 3 (from 0, line 4 of the file), column 'text': there is no text.",
        ),
        (
            [*ROWS, {"text": None, "label": "pos"}],
            {},
            "row 3 (from 0, line 4 of the file), column 'text': there is no text (null)",
        ),
        (
            ROWS,
            {"labels": ("pos", "maybe")},
            "row 1 (from 0, line 2 of the file), column 'label': the label 'neg' is none of",
        ),
        ([ROWS[0]], {}, "one label only, 'pos'"),
        (
            [*ROWS, {"text": "x", "label": "z"}],
            {"kind": "regression", "metrics": ("pearson",)},
            "the target 'pos' is no finite number. 3 other rows have the same mistake.",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path, train, changes, complaint):
    write(tmp_path, train)
    with pytest.raises(InvalidInputError) as caught:
        load_task_data(task_of(tmp_path, ".jsonl", **changes))
    assert complaint in caught.value.problem


def test_a_label_that_only_validation_has(tmp_path):
    write(tmp_path, ROWS, [*ROWS, {"text": "x", "label": "meh"}])
    with pytest.raises(InvalidInputError, match=r"validation.jsonl, row 3 \(from 0, line 4 .* 'meh'"):
        load_task_data(task_of(tmp_path, ".jsonl"))


def test_missing_damaged_and_unknown_files(tmp_path):
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_task_data(task_of(tmp_path))
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(InvalidInputError, match="could not be read"):
        load_task_data(task_of(tmp_path, ".parquet"))
    with pytest.raises(InvalidInputError, match="no known format"):
        load_task_data(task_of(tmp_path, ".xlsx"))


def test_without_a_clone_or_a_hub_glue_says_what_to_do(monkeypatch):
    monkeypatch.delenv("COMPRESS_GLUE", raising=False)
    with pytest.raises(CompressError) as caught:
        load_task_data(resolve_task("rte"))
    assert "COMPRESS_GLUE" in caught.value.fix


def test_hold_out_is_a_seeded_partition():
    train = load_task_data(resolve_task("sample")).train
    rest, held = hold_out(train, seed=1)
    assert len(held) == 800
    assert sorted(rest.texts + held.texts) == sorted(train.texts)
    assert hold_out(train, seed=1)[1].texts == held.texts
    assert hold_out(train, seed=2)[1].texts != held.texts
    index = dict(zip(train.texts, train.labels, strict=True))
    assert all(index[text] == label for text, label in zip(held.texts, held.labels, strict=True))


def test_a_fingerprint_sees_every_byte(tmp_path):
    write(tmp_path, ROWS)
    first = load_task_data(task_of(tmp_path, ".jsonl")).fingerprint
    write(tmp_path, [{**ROWS[0], "text": "good filn"}, *ROWS[1:]])
    second = load_task_data(task_of(tmp_path, ".jsonl")).fingerprint
    write(tmp_path, [{**ROWS[0], "label": "neg"}, *ROWS[1:]])
    third = load_task_data(task_of(tmp_path, ".jsonl")).fingerprint
    assert len({first, second, third}) == 3


def test_truncated_texts_are_counted(tokenizer):
    texts = ["film " * 3, "film " * 4, "film " * 30]
    encoded, cut = tokenize(texts, tokenizer, max_length=6)
    assert [len(ids) for ids in encoded["input_ids"]] == [5, 6, 6]  # the second just fits, specials included
    assert cut == 1


def test_a_pair_keeps_both_sides(tokenizer):
    encoded, _ = tokenize([("film", "story")], tokenizer, max_length=16)
    assert np.array(encoded["token_type_ids"]).sum() == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ([1.0, 2.0, 1.0], ("1", "2")),
        ([True, False, True], ("false", "true")),
        ([0, 1, 0], ("0", "1")),
        (["a b", "1.0", "a b"], ("1.0", "a b")),
    ],
)
def test_labels_of_any_type_become_names(tmp_path, suffix, cells, labels):
    write(tmp_path, [{"text": "a film", "label": cell} for cell in cells], suffix=suffix)
    assert load_task_data(task_of(tmp_path, suffix)).task.labels == labels


def test_csv_is_text_so_labels_and_texts_keep_their_spelling(tmp_path):
    """Guards values that a reader guesses: 007 is no 7, and a text of digits is a text."""
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text('text,label\n007,1.0\n"two\nlines",true\n1e3,1.0\n')
    data = load_task_data(task_of(tmp_path))
    assert data.train.texts == ["007", "two\nlines", "1e3"]
    assert data.task.labels == ("1.0", "true")


def test_numbers_declared_as_labels_are_names(tmp_path):
    write(tmp_path, [{"text": "a", "label": 1}, {"text": "b", "label": 0}])
    task = task_of(tmp_path, ".jsonl", labels=[1, 0])
    assert task.labels == ("1", "0")
    assert load_task_data(task).train.labels.tolist() == [0, 1]


def test_minus_one_is_a_label_where_the_task_declares_it(tmp_path):
    write(tmp_path, [{"text": "a", "label": -1}, {"text": "b", "label": 1}])
    assert load_task_data(task_of(tmp_path, ".jsonl", labels=[-1, 1])).train.labels.tolist() == [0, 1]
    with pytest.raises(InvalidInputError, match=r"row 0 .* nothing can be learned"):
        load_task_data(task_of(tmp_path, ".jsonl"))


def test_a_split_without_any_label_is_predicted_only(tmp_path):
    write(tmp_path, ROWS, [{"text": "a", "label": -1}, {"text": "b", "label": -1.0}])
    assert load_task_data(task_of(tmp_path, ".jsonl")).validation[0].labels.tolist() == [-1, -1]
    rows = [{"text": "a", "label": -1}, {"text": "b", "label": "pos"}]
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InvalidInputError, match=r"validation.jsonl, row 0 .* while other rows have one"):
        load_task_data(task_of(tmp_path, ".jsonl"))


def test_a_train_split_knows_how_much_of_it_was_published(tmp_path):
    write(tmp_path, ROWS)
    own = load_task_data(task_of(tmp_path, ".jsonl"))
    assert own.published_examples is None
    source = GlueSource(config="mnli", clone=None)
    glue = replace(
        own, task=own.task.model_copy(update={"source": source}), train=replace(own.train, name="train")
    )
    assert glue.published_examples == 392702


def test_glue_s_mistakes_name_the_split(tmp_path):
    """A clone whose validation split has rows with and without labels."""
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    (tmp_path / "sst2").mkdir()
    for split, labels in (("train", [0, 1]), ("validation", [1, -1])):
        rows = {"sentence": ["good", "bad"], "label": labels}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            tmp_path / "sst2" / f"{split}-00000-of-00001.parquet"
        )
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: sst2\n  data_files:\n  - split: train\n    path: sst2/train-*\n"
        "  - split: validation\n    path: sst2/validation-*\n---\n"
    )
    with pytest.raises(InvalidInputError, match=r"the split 'validation' of 'sst2' .*, row 1 \(from 0\)"):
        load_task_data(resolve_task("sst2", glue=tmp_path))
