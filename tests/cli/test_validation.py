"""`validate` tells what a file is, and all that is wrong with it."""

import json

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.cli.validation import tell_kind, validate_files
from compress.errors import InvalidInputError
from compress.recipes.resolve import list_recipes

TEACHER = """
description = "mine"
family = "bert"
vocab_size = 40

[source]
kind = "hub"
id = "me/mine"

[architecture]
num_hidden_layers = 1
hidden_size = 8
num_attention_heads = 2
intermediate_size = 16
"""


def run(*arguments):
    return CliRunner().invoke(app, ["validate", *map(str, arguments)])


@pytest.fixture
def teacher_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(TEACHER)
    return file


def test_every_committed_recipe_is_valid():
    files = [*list_recipes("teachers").values(), *list_recipes("students").values()]
    assert len(files) >= 22
    result = run(*files)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(files)


def test_each_kind_is_told_apart(teacher_file, student_file, task_file):
    moved = student_file.rename(teacher_file.parent / "student.toml")  # no folder tells its kind
    result = run(teacher_file, moved, task_file)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        "a valid teacher",
        "a valid student",
        "a valid task",
    ]
    assert "240 rows of train, 100 rows of validation; labels bad, good" in lines[2]
    entries = json.loads(run(teacher_file, "--json").stdout)
    assert [(entry["kind"], entry["name"]) for entry in entries] == [("teacher", "mine")]


def test_the_folder_decides_since_it_decides_where_a_recipe_is_found(student_file, teacher_file):
    assert tell_kind(student_file) == "student"
    misplaced = teacher_file.rename(student_file.parent / "mine.toml")
    assert tell_kind(misplaced) == "student"
    with pytest.raises(InvalidInputError, match=r"no valid student: \n(.|\n)*source: no such field"):
        validate_files([misplaced])


def test_a_file_of_no_kind_says_what_each_kind_has(tmp_path):
    file = tmp_path / "other.toml"
    file.write_text("colour = 'red'\n")
    result = run(file)
    assert result.exit_code == 2
    for word in ("neither a teacher", "vocab_size", "colour"):
        assert word in result.stderr


def test_every_mistake_of_every_file_is_told_at_once(teacher_file, student_file, task_file):
    teacher_file.write_text(
        teacher_file.read_text()
        .replace("vocab_size = 40", 'vocab_size = 0\nname = "mine"')
        .replace('id = "me/mine"', "")
        .replace("hidden_size = 8", 'hidden_size = "wide"')
    )
    student_file.write_text(student_file.read_text().replace("share", "chair"))
    task_file.write_text(
        task_file.read_text().replace("label =", "lable =").replace('"accuracy"', '"exactness"')
    )
    result = run(teacher_file, student_file, task_file, "nowhere.toml", list_recipes("teachers")["bert-base"])
    assert result.exit_code == 2
    assert result.stdout == ""
    told = (
        f"{teacher_file} is no valid teacher",
        "name: no such field",
        "source.hub.id: missing",
        "vocab_size: ",
        "architecture.hidden_size: ",
        f"{student_file} is no valid student",
        "architecture.chair: no such field",
        f"{task_file} is no valid task file",
        "lable: no such field",
        "exactness",
        "no file nowhere.toml",
        "4 of 5 files",
    )
    assert [word for word in told if word not in result.stderr] == []


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("train.csv", ("review,", "text,"), "train.csv has no column 'review'"),
        ("validation.csv", (",good", ",superb"), "label 'superb'"),
        ("validation.csv", None, "validation.csv does not exist"),
    ],
)
def test_a_task_s_data_are_read(task_file, file, change, complaint):
    data = task_file.parent / file
    if change is None:
        data.unlink()
    else:
        data.write_text(data.read_text().replace(*change))
    result = run(task_file)
    assert result.exit_code == 2
    assert f"{task_file} is a valid task, but its data are wrong" in result.stderr
    assert complaint in result.stderr


def test_one_bad_split_does_not_hide_the_next(task_file):
    folder = task_file.parent
    rows = (folder / "validation.csv").read_text()
    (folder / "easy.csv").write_text(rows.replace("review,", "words,"))
    (folder / "hard.csv").write_text(rows.replace(",bad", ",awful"))
    task_file.write_text(task_file.read_text().replace('"validation.csv"', '["easy.csv", "hard.csv"]'))
    result = run(task_file)
    assert "easy.csv" in result.stderr
    assert "hard.csv" in result.stderr
    assert "'awful'" in result.stderr
    assert "train.csv" not in result.stderr


@pytest.mark.parametrize("file", ["train.csv", "validation.csv"])
def test_a_wrong_text_does_not_hide_a_wrong_label(task_file, file):
    """Both with what mends them, as the other commands say it."""
    text = task_file.read_text()
    task_file.write_text(f'labels = ["bad", "good"]\n{text}' if "labels" not in text else text)
    data = task_file.parent / file
    header, *rows = data.read_text().splitlines()
    rows[3] = f",{rows[3].rpartition(',')[2]}"
    rows[7] = f"{rows[7].rpartition(',')[0]},Good"
    data.write_text("\n".join([header, *rows]) + "\n")
    lines = run(task_file).stderr.splitlines()
    assert [line for line in lines if "row 3 " in line and line.endswith("Fill it in or remove the row.")]
    assert [line for line in lines if "row 7 " in line and line.endswith("Spell it 'good'.")]


def test_a_local_teacher_needs_its_weights(teacher_file):
    text = teacher_file.read_text().replace(
        'kind = "hub"\nid = "me/mine"', 'kind = "local"\npath = "weights"'
    )
    teacher_file.write_text(text)
    assert "holds no config.json" in run(teacher_file).stderr
    weights = teacher_file.parent / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    assert run(teacher_file).exit_code == 0
