"""What `show` shows: one recipe in full, which reads back as the same recipe."""

import json
import tomllib

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.cli.recipes import show_recipes
from compress.errors import InvalidInputError
from compress.recipes.resolve import list_recipes, resolve_student, resolve_teacher
from compress.recipes.schema import Student, Teacher

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


def run(*arguments):
    result = CliRunner().invoke(app, ["show", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def shown(name, kind):
    """The text about one of the recipes that a name stands for."""
    entries, text = show_recipes(name)
    parts = text.split("\n\n# ")
    return next(part for entry, part in zip(entries, parts, strict=True) if entry["kind"] == kind)


@pytest.mark.parametrize("name", sorted(list_recipes("teachers")))
def test_a_teacher_reads_back_as_itself(name):
    text = "# " + shown(name, "teacher").removeprefix("# ")
    assert Teacher.model_validate({**tomllib.loads(text), "name": name}) == resolve_teacher(name)


@pytest.mark.parametrize("name", sorted(list_recipes("students")))
def test_a_student_reads_back_as_itself(name):
    text = "# " + shown(name, "student").removeprefix("# ")
    assert Student.model_validate({**tomllib.loads(text), "name": name}) == resolve_student(name)


def test_defaults_are_filled_in():
    """A student of five lines shows the fields that it leaves out."""
    fields = tomllib.loads(run("albert-tiny"))
    assert "max_grad_norm" not in list_recipes("students")["albert-tiny"].read_text()
    assert fields["training"]["max_grad_norm"] == 1.0
    assert fields["architecture"]["max_position_embeddings"] == 512
    assert "# bf16 is left open" in run("albert-tiny")


def test_sizes_and_file_head_the_recipe():
    heading = run("bert-base").partition("\n\n")[0]
    assert "109,483,778 parameters, 437.94 MB in fp32" in heading
    assert f"file: {list_recipes('teachers')['bert-base']}" in heading


def test_a_student_is_as_big_as_its_teacher_s_vocabulary_makes_it():
    own, wide = (
        json.loads(run("albert-tiny", "--json", *more))[0] for more in ((), ("--teacher", "roberta-base"))
    )
    assert (own["vocab_size"], wide["vocab_size"]) == (30522, 50265)
    assert wide["parameters"] - own["parameters"] == (50265 - 30522) * 128
    assert "roberta-base's 50,265 pieces" in run("albert-tiny", "--teacher", "roberta-base")
    assert "bert-base's 30,522 pieces" in run("albert-tiny")


def test_the_parts_add_up_beside_the_teacher_s():
    (entry,) = json.loads(run("albert-tiny-ffn", "--json", "--teacher", "bert-base"))
    for column in (entry, entry["teacher"]):
        assert sum(column["parts"].values()) == column["parameters"]
        assert column["bytes"] == {name: n * column["parameters"] for name, n in BYTES.items()}
    assert (entry["teacher"]["name"], entry["teacher"]["parameters"]) == ("bert-base", 109_483_778)
    assert entry["flops"] == {"batch": 1, "length": 128, "value": pytest.approx(1.29e9, rel=0.01)}
    text = run("albert-tiny-ffn", "--teacher", "bert-base")
    cells = {line[2:30].strip(): line[30:].split("  ") for line in text.splitlines() if line.startswith("# ")}
    columns = {name: [cell.strip() for cell in row if cell.strip()] for name, row in cells.items()}
    assert columns["attention"] == [f"{each['parts']['attention']:,}" for each in (entry, entry["teacher"])]
    assert columns["parameters"] == ["6,457,322", "109,483,778"]
    assert columns["MB in int8 (estimate)"] == ["6.46", "109.48"]
    assert columns["GFLOP, batch × tokens"] == ["1.29 at 1 × 128", "22.35 at 1 × 128"]
    assert columns["layers, different parts"][0] == "4: 4 × attention, 1 × feed-forward"
    assert "a byte a parameter" in text


def test_a_teacher_is_counted_with_its_own_pieces():
    """Guards the column of a RoBERTa that is counted with a student's pieces."""
    (entry,) = json.loads(run("albert-tiny", "--json", "--teacher", "roberta-base"))
    assert entry["teacher"]["parts"]["word_table"] == 50265 * 768
    (alone,) = json.loads(run("albert-tiny", "--json"))
    assert alone["teacher"] is None


def test_short_models_are_counted_at_their_length(student_file):
    (entry,) = json.loads(run(str(student_file), "--json"))
    assert entry["flops"]["length"] == 64
    assert "at 1 × 64" in run(str(student_file))


def test_a_name_of_two_recipes_shows_both():
    entries = json.loads(run("bert-mini", "--json"))
    assert [entry["kind"] for entry in entries] == ["teacher", "student"]
    assert {"source", "distill"} <= {field for entry in entries for field in entry["recipe"]}
    both = json.loads(run("bert-mini", "--json", "--teacher", "roberta-base"))
    assert [entry["vocab_size"] for entry in both] == [30522, 50265]


def test_a_task_is_described():
    text = run("mnli")
    assert "classification of premise and hypothesis (entailment, neutral, contradiction); accuracy" in text
    assert tomllib.loads(text)["validation"] == ["validation_matched", "validation_mismatched"]
    assert json.loads(run("stsb", "--json"))[0]["file"] is None


def test_files_are_shown_by_path(student_file, task_file):
    assert "# student tiny-albert" in run(str(student_file))
    assert f"# file: {student_file}" in run(str(student_file))
    assert "# task reviews" in run(str(task_file))


def test_an_invalid_file_is_an_error(student_file):
    student_file.write_text(student_file.read_text().replace("hidden_size", "hidden_sise"))
    with pytest.raises(InvalidInputError, match="hidden_sise"):
        show_recipes(str(student_file))


def test_long_lines_stay_whole():
    """Guards wrapped comments and strings, which would be no TOML any more."""
    description = resolve_student("albert-mini").description
    assert len(description) > 110
    assert f'description = "{description}"' in run("albert-mini").splitlines()
