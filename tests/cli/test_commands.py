"""The command line's manners: exit status, one message, clean stdout, no waiting for torch."""

import resource
import subprocess
import sys
import typing

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.cli.options import TRAINING
from compress.recipes.resolve import find_recipe
from compress.recipes.values import Training

COMMANDS = (
    "finetune",
    "distill",
    "quantize",
    "export",
    "evaluate",
    "measure",
    "predict",
    "report",
    "list",
    "show",
    "validate",
    "doctor",
)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: compress {command}" in " ".join(result.stdout.split())
    assert "--json" in result.stdout


def test_training_options_are_the_recipe_s_fields():
    assert set(TRAINING) == set(Training.model_fields)
    for name, (annotation, default) in TRAINING.items():
        kinds = set(typing.get_args(typing.get_args(annotation)[0]))
        assert type(None) in kinds
        assert default is None, name


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ("distill", "--teacher", "minilm-l6", "--student", "albert-tyny", "--task", "sample"),
            2,
            "albert-tiny",
        ),
        (
            ("distill", "--teacher", "minilm-l6", "--student", "albert-tiny", "--method", "logits"),
            2,
            "--task",
        ),
        (("distill", "--teacher", "minilm-l6", "--student", "albert-tiny"), 1, "--corpus"),
        (
            ("distill", "--teacher", "x", "--student", "albert-tiny", "--task", "sst2", "--method", "magic"),
            2,
            "tinybert, minilm, triple",
        ),
        (
            ("distill", "--teacher", "x", "--student", "albert-tiny", "--task", "sst2", "--budget", "huge"),
            2,
            "published, small",
        ),
        (("distill", "--teacher", "x", "--student", "albert-tiny", "--task", "sst-2"), 2, "is no directory"),
        (("finetune", "bert-base", "--task", "sample"), 1, "google-bert/bert-base-uncased"),
        (("finetune", "albert-tiny", "--task", "sample"), 2, "--tokenizer"),
        (("finetune", "minilm-l6", "--tokenizer", "minilm-l6", "--task", "sample"), 2, "for students"),
        (("quantize", "runs/none/nothing"), 2, "no directory"),
        (("quantize", "runs/none", "--method", "int1"), 2, "dynamic-int8"),
        (("quantize", "runs/none", "--method", "dynamic-int8", "--block-size", "32"), 2, "packed-int4"),
        (("quantize", "runs/none", "--method", "packed-int4", "--block-size", "33"), 2, "block_size"),
        (("quantize", "runs/none", "--method", "fp16", "--max-drop", "0.1"), 2, "takes no --max-drop"),
        (("report", "--output-dir", "reports/none"), 2, "needs runs"),
        (("report", "--check", "--baseline", "x", "--title", "y"), 2, "--title, --baseline would do nothing"),
        (("report", "--again", "--baseline", "x"), 2, "--baseline would do nothing beside --again"),
        (("report", "--again", "runs/none"), 2, "RUNS would do nothing beside --again"),
        (("report", "--again", "--check"), 2, "--check would do nothing beside --again"),
        (
            ("report", "--compare", "a", "b", "--baseline", "q"),
            2,
            "--baseline would do nothing beside --compare",
        ),
        (("report", "--compare", "a", "b", "runs/none"), 2, "RUNS would do nothing beside --compare"),
        (("list", "nothing"), 2, "teachers"),
        (("show", "albert-tny"), 2, "albert-tiny"),
        (("show", "bert-base", "--teacher", "roberta-base"), 2, "no student"),
        (("show", "albert-tiny", "--teacher", "roberta"), 2, "roberta-base"),
        (("show", "nowhere/recipe.toml"), 2, "no file"),
        (("validate", "nowhere/recipe.toml"), 2, "no file"),
        (("finetune", "minilm-l6", "--task", "sample", "--learning-rate", "-1"), 2, "learning_rate"),
        (("finetune", "minilm-l6", "--task", "sample", "--select-on", "test"), 2, "holdout"),
    ],
)
def test_a_failure_is_one_message_with_a_way_out(arguments, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == status, result.stderr
    assert message in result.stderr
    assert result.stderr.count("Error: ") == 1
    assert len(result.stderr.strip().splitlines()) >= 2
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_usage_errors_are_status_2():
    assert run("finetune").exit_code == 2
    assert run("no-such-command").exit_code == 2


def test_debugging_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("COMPRESS_DEBUG", "1")
    assert run("list", "nothing").exception.__class__.__name__ == "UnknownNameError"


def test_quiet_commands_say_nothing():
    for command in (
        ("list",),
        ("show", "albert-tiny"),
        ("validate", str(find_recipe("students", "albert-tiny"))),
    ):
        result = run(*command, "--quiet")
        assert (result.exit_code, result.stdout) == (0, "")


def imported_by(program: str) -> set[str]:
    code = f"import sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"torch", "transformers", "datasets", "onnxruntime", "sklearn", "scipy", "pandas"}


@pytest.mark.parametrize(
    "program",
    [
        "import compress",
        "import compress.cli.commands",
        "import compress.recipes.resolve, compress.tasks, compress.runs, compress.statistics",
        "import compress.reporting",
        "from compress.cli.tables import list_catalogue; list_catalogue(None)",
        "from compress.cli.recipes import show_recipes; show_recipes('bert-mini', teacher='roberta-base')",
        "from compress.cli.validation import validate_files\nfrom compress.recipes.resolve import list_recipes\n"
        "validate_files([*list_recipes('teachers').values(), *list_recipes('students').values()])",
        "from compress.cli import completion\nfor complete in completion.COMPLETIONS.values(): complete('a')",
    ],
)
def test_what_should_be_instant_imports_nothing_heavy(program):
    assert not HEAVY & imported_by(program)


def test_the_command_line_module_waits_even_for_pydantic():
    assert "pydantic" not in imported_by("import compress.cli.commands")


def test_help_takes_at_most_twice_a_bare_program_s_time(tmp_path):
    bare = tmp_path / "bare.py"
    bare.write_text(
        "import typer\napp = typer.Typer()\n@app.command()\ndef a(): ...\n@app.command()\ndef b(): ...\napp()\n"
    )

    def seconds(*command):
        """Of the processor: what else the machine does is not counted."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    turns = [(seconds("-m", "compress"), seconds(str(bare))) for _ in range(7)]
    ours, theirs = (min(times) for times in zip(*turns, strict=True))
    assert ours < 2 * theirs
