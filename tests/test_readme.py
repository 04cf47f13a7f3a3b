"""The README keeps its word: its commands run as they stand, its Python exists, its make targets too.

The user's own `teachers/NAME.toml` hides the bundled teacher of its name, so tiny models stand for the big ones while
every command is executed exactly as one would copy it.
"""

import ast
import inspect
import re
import shlex
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import typer
from transformers import AutoModel, set_seed
from typer.testing import CliRunner

import compress
from compress import budgets
from compress.cli.commands import app
from compress.inference import load
from compress.recipes.methods import SMALL_TINYBERT, Distillation
from compress.recipes.resolve import list_recipes
from tests.conftest import BAD, STUDENT, tiny_config, write_reviews

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LONGEST_INPUT = 512
TEACHER = f"""
description = "tiny"
family = "bert"
vocab_size = 32

[source]
kind = "local"
path = "../tiny-bert"

[architecture]
num_hidden_layers = 2
hidden_size = 24
num_attention_heads = 3
intermediate_size = 48
max_position_embeddings = {LONGEST_INPUT}

[training]
learning_rate = 2e-3
num_train_epochs = 8
early_stopping_patience = 9
per_device_train_batch_size = 16
max_length = 32
bf16 = false

[pretraining.small]
max_tokens = 2000
tokenizer = {{ vocab_size = 1000 }}
training = {{ per_device_train_batch_size = 8, max_length = 32, bf16 = false }}

[pretraining.published]
tokenizer = {{ vocab_size = 1000 }}
static_copies = 1
training = {{ max_steps = 4, per_device_train_batch_size = 8, max_length = 32, bf16 = false }}
longer = {{ max_length = 64, per_device_train_batch_size = 4 }}
"""
HASTE = 3000
"""So many seconds pass in one where a budget is one of minutes."""
METHODS = """[distill]
method = "tinybert"

[distill.tinybert.small.general.training]
max_steps = 4

[distill.tinybert.small.intermediate.training]
max_steps = 4

[distill.triple.small.general.training]
max_steps = 4
"""
CLONE = """---
configs:
- config_name: sst2
  data_files:
  - split: train
    path: sst2/train-*
  - split: validation
    path: sst2/validation-*
---
"""


def shell_lines(text: str) -> list[str]:
    """The lines of a page's ```sh blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def commands_of(text: str) -> list[str]:
    return [line for line in shell_lines(text) if line.startswith("compress ")]


def arguments_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)[1:]


def write_clone(clone: Path) -> None:
    """A clone of GLUE with a tiny SST-2, laid out as the Hub dataset is."""
    (clone / "sst2").mkdir(parents=True)
    (clone / "README.md").write_text(CLONE)
    names = ["negative", "positive"]
    for seed, (split, count) in enumerate({"train": 240, "validation": 60}.items()):
        table = clone / f"{split}.csv"
        write_reviews(table, count, seed=seed)
        rows = datasets.load_dataset("csv", data_files=str(table), split="train")
        texts = list(rows["review"])
        table.unlink()
        data = {
            "sentence": texts,
            "label": [int(not any(word in BAD for word in text.split())) for text in texts],
            "idx": list(range(count)),
        }
        features = datasets.Features(
            sentence=datasets.Value("string"),
            label=datasets.ClassLabel(names=names),
            idx=datasets.Value("int32"),
        )
        rows = datasets.Dataset.from_dict(data, features=features)
        rows.to_parquet(str(clone / "sst2" / f"{split}-00000-of-00001.parquet"))


@pytest.fixture
def home(tmp_path, tokenizer, monkeypatch):
    """A user's directory: tiny recipes under the bundled names, a clone of GLUE, the README's own task file."""
    set_seed(0)
    model = AutoModel.from_config(tiny_config("bert", tokenizer, max_position_embeddings=LONGEST_INPUT))
    model.save_pretrained(tmp_path / "tiny-bert")
    tokenizer.save_pretrained(tmp_path / "tiny-bert")
    longer, shorter = f"max_position_embeddings = {LONGEST_INPUT}", "num_train_epochs = 2"
    student = STUDENT.replace("max_position_embeddings = 64", longer).replace("num_train_epochs = 8", shorter)
    student = student.replace(
        "hidden_size = 32\nnum_attention_heads = 2", "hidden_size = 24\nnum_attention_heads = 3"
    )
    student = student.replace("[distill.logits]", f"{METHODS}\n[distill.logits]")
    for kind, text in (("teachers", TEACHER), ("students", student)):
        (tmp_path / kind).mkdir()
        for name in list_recipes(kind):
            (tmp_path / kind / f"{name}.toml").write_text(text)
    write_clone(tmp_path / "glue")
    (tmp_path / "my.toml").write_text(own_task())
    for split, count in {"train": 240, "validation": 60}.items():
        write_reviews(tmp_path / f"{split}.csv", count, seed=count)
        renamed = (tmp_path / f"{split}.csv").read_text().replace("review,verdict", "question,kind")
        (tmp_path / f"{split}.csv").write_text(renamed)
    monkeypatch.chdir(tmp_path)
    hasty = SimpleNamespace(monotonic=lambda: HASTE * time.monotonic())
    monkeypatch.setattr(budgets, "time", hasty)
    monkeypatch.setenv("COMPRESS_GLUE", "glue")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COMPRESS_RUNS", raising=False)
    return tmp_path


def own_task() -> str:
    """The task file that the README shows."""
    (block,) = [block for block in toml_blocks() if "[distill]" not in block]
    return block


def toml_blocks() -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_s_way_to_change_a_method_is_understood():
    (block,) = [block for block in toml_blocks() if "[distill]" in block]
    small = Distillation.model_validate(tomllib.loads(block)["distill"]).tinybert.small
    assert [term.loss for term in small.intermediate.terms] == ["hidden", "relations"]
    assert small.general.training.max_steps == 8000
    assert small.general.training.learning_rate == SMALL_TINYBERT.general.training.learning_rate


@pytest.mark.usefixtures("workers_here")
def test_the_readme_s_commands_run_as_they_stand(home):
    commands = commands_of(README)
    assert {arguments_of(line)[0] for line in commands} >= {
        "distill",
        "quantize",
        "measure",
        "report",
        "predict",
    }
    for line in commands:
        given = arguments_of(line)
        # A model recovers from itself, and what stands for the README's student was hardly taught.
        given += ["--allow-weak-teacher"] * ("--recover" in given)
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    for page in re.findall(r"--output-dir (\S+)", "\n".join(commands)):
        assert (home / page / "index.html").is_file()


@pytest.mark.parametrize("line", commands_of(README))
def test_each_command_of_the_readme_parses(line):
    """Tells at once which line is wrong, where running them all would take a minute."""
    parse(arguments_of(line))


def parse(arguments: list[str]) -> None:
    """Parse a command as the command line does, without running it.

    Raises:
        Exception: An option, argument or command is wrong (a usage error of the click that typer brings).
    """
    command = typer.main.get_command(app)
    context = command.make_context("compress", list(arguments))
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize(
    "line",
    [
        "distill --teacher minilm-l6 --student albert-tiny --task sst2 --epochs 3",
        "distill --student albert-tiny --task sst2",
        "measure runs/sst2 --rounds many",
        "compres",
        "runs tidy",
    ],
)
def test_parsing_refuses_what_the_command_line_refuses(line):
    """Guards the test above against passing whatever the README says."""
    with pytest.raises(Exception, match=r"(?i)no such|missing|valid integer"):
        parse(line.split())
    assert CliRunner().invoke(app, line.split()).exit_code == 2


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def test_every_make_target_that_the_readme_names_is_there():
    code = "\n".join([*shell_lines(README), *re.findall(r"`([^`\n]+)`", README)])
    named = set(re.findall(r"\bmake ([a-z-]+)", code))
    assert named >= {"demo", "test", "install"}
    assert named <= targets()


def demo_commands() -> list[str]:
    """The demo's compress commands, with the Makefile's variables filled in."""
    variables = dict(re.findall(r"^(\w+) [:?]= (.*)$", MAKEFILE, flags=re.MULTILINE))
    (recipe,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    filled = re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], recipe)
    filled = re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], filled)
    return re.findall(r"^\t[@-]?\S*/compress (.*)$", filled, flags=re.MULTILINE)


def test_the_demo_s_commands_parse():
    assert len(demo_commands()) >= 5
    for line in demo_commands():
        parse(shlex.split(line))


def test_the_demo_s_page_is_the_one_that_the_readme_promises():
    (output,) = re.findall(r"--output-dir (\S+)", "\n".join(demo_commands()))
    assert f"`{output}/index.html`" in README


def python_calls() -> list[ast.Call]:
    """Calls of the public API in the README's backticks, line breaks inside them mended."""
    prose = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    snippets = [
        snippet for snippet in re.findall(r"`([^`]+)`", prose) if re.match(r"compress\.\w+\(", snippet)
    ]
    trees = [ast.parse(" ".join(snippet.split()), mode="eval") for snippet in snippets]
    return [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


def test_the_readme_s_python_names_what_exists():
    calls = python_calls()
    public = [call for call in calls if isinstance(call.func.value, ast.Name)]
    assert {call.func.attr for call in public} >= {"distill", "load"}
    for call in public:
        assert call.func.attr in compress.__all__
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        inspect.signature(getattr(compress, call.func.attr)).bind(*call.args, **keywords)
    for call in calls:
        if isinstance(call.func.value, ast.Call):  # compress.load(…).predict(…)
            assert hasattr(inspect.signature(load, eval_str=True).return_annotation, call.func.attr)
