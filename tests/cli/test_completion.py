"""TAB offers names that are there, at once."""

import os
import subprocess
import sys

import pytest

from compress.cli import completion
from compress.recipes.resolve import find_recipe

CHECKOUT = find_recipe("teachers", "bert-base").resolve().parent.parent

PROGRAM = (
    "import atexit, sys\n"
    "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    "sys.argv = ['compress']\n"
    "from compress.cli.commands import main\n"
    "main()\n"
)


def press_tab(*words):
    """What bash would offer for the last word, and the modules that were imported for it."""
    environment = {
        **os.environ,
        "_COMPRESS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["compress", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split(), set(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        (("distill", "--teacher", "rob"), "roberta-base", "bert-base"),
        (("distill", "--student", "tiny"), "tinybert-4-312", "albert-tiny"),
        (("distill", "--task", "s"), "sst2", "rte"),
        (("distill", "--method", "l"), "logits", "dynamic-int8"),
        (("distill", "--method", "t"), "tinybert", "logits"),
        (("distill", "--budget", "s"), "small", "published"),
        (("quantize", "--method", "d"), "dynamic-int8", "logits"),
        (("quantize", "--method", "packed"), "packed-int4", "dynamic-int8"),
        (("finetune", "minilm"), "minilm-l6", "bert-base"),
        (("finetune", "albert-tiny", "--tokenizer", "bert-"), "bert-base", "bert-tiny"),
        (("evaluate", "--task", "m"), "mnli", "sst2"),
        (("show", "bert-t"), "bert-tiny", "bert-base"),
        (("show", "albert-tiny", "--teacher", "el"), "electra-small", "albert-tiny"),
        (("list", "t"), "teachers", "students"),
        (("validate", "teachers/bert-b"), "teachers/bert-base.toml", "teachers/bert-large.toml"),
    ],
)
def test_names_are_offered_without_waiting_for_torch(words, offered, not_offered):
    names, modules = press_tab(*words)
    assert offered in names
    assert not_offered not in names
    assert "typer" in modules
    assert not {"torch", "transformers", "datasets", "numpy"} & modules


def test_validate_offers_toml_files_and_those_in_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("task.toml", "notes.txt", "students/a.toml", "students/b.json", ".hidden/c.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert completion.complete_recipe_file("") == ["students/a.toml", "task.toml"]
    assert completion.complete_recipe_file("stu") == ["students/a.toml"]
    assert completion.complete_recipe_file("students/") == ["students/a.toml"]
    assert completion.complete_recipe_file("students/a") == ["students/a.toml"]
    assert completion.complete_recipe_file("nowhere/") == []


def test_a_user_s_own_student_is_offered(tmp_path, monkeypatch, student_file):
    monkeypatch.chdir(tmp_path)
    assert completion.complete_student("tiny-") == ["tiny-albert"]
    assert "tiny-albert" in completion.complete_recipe("t")
