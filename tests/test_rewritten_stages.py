"""Each format and method through the command: a run like any other, that predicts, is scored, measured and loads by its card."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.encoder import save_encoder
from compress.inference import load
from compress.runs import read_run
from tests.conftest import write_task
from tests.quantization.tiny import build

TEXTS = ["a lovely film .", "the story was dull and so stale"]
QUANTIZED = {
    "openvino-int8": ("openvino", "openvino"),
    "bnb-int8": ("pytorch", "transformers"),
    "bnb-nf4": ("pytorch", "transformers"),
    "quanto-int8": ("quanto", "transformers"),
    "quanto-int4": ("quanto", "transformers"),
}
"""Method → what runs it, and the library that its card names."""
EXPORTED = {"onnx": ("onnxruntime", "onnxruntime"), "openvino": ("openvino", "openvino")}


def compress(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    """A task, and a student that half answers it: a few steps from random weights."""
    root = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_task(root, train=240, validation=40)
        encoder = build("albert", tokenizer, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
        save_encoder(encoder, root / "start", max_length=64)
        schedule = ("--max-steps", "60", "--learning-rate", "2e-3", "--max-length", "32", "--no-bf16")
        arguments = ("finetune", "start", "--task", "reviews.toml", *schedule, "--json")
        yield json.loads(compress(*arguments).stdout)


def makes(house, *arguments):
    made = json.loads(compress(*arguments, house["path"], "--json").stdout)
    assert made["parents"][0]["key"] == house["key"]
    return made


def score_of(run):
    return run["evaluations"][0]["scores"][0]["value"]


def check(house, made, engine, library, alone):
    path = Path(made["path"])
    run = read_run(path).run
    weights = [file for file in path.iterdir() if file.suffix in (".xml", ".bin", ".onnx", ".safetensors")]
    assert run.artefact_bytes == sum(file.stat().st_size for file in weights)
    assert made["evaluations"][0]["engine"] == engine
    assert score_of(made) == pytest.approx(score_of(house), abs=0.1)
    answers = json.loads(compress("predict", path, *TEXTS, "--json").stdout)
    assert [answer["label"] for answer in answers] == [each.label for each in load(path).predict(TEXTS)]
    card = (path / "README.md").read_text()
    assert f"library_name: {library}\n" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    done = alone.run(code, cwd=path)
    assert done.returncode == 0, done.stderr
    assert "good" in done.stdout or "bad" in done.stdout
    assert ("compress" in code) == (made["stage"].get("method", {}).get("kind") == "quanto-int4")
    assert not list(path.glob("*.pt")) + list(path.glob("pytorch_model*"))


@pytest.mark.parametrize("method", QUANTIZED)
def test_a_method_makes_a_run_like_any_other(method, house, alone):
    made = makes(house, "quantize", "--method", method)
    assert made["stage"]["method"]["kind"] == method
    facts = made["facts"]
    assert facts["bytes"] == read_run(Path(made["path"])).run.artefact_bytes
    assert facts["bytes_kept_in_float"]
    check(house, made, *QUANTIZED[method], alone)


@pytest.mark.parametrize("form", EXPORTED)
def test_an_exported_graph_answers_as_the_model(form, house, alone):
    made = makes(house, "export", "--format", form)
    check(house, made, *EXPORTED[form], alone)
    ours, theirs = load(Path(house["path"])).logits(TEXTS)[0], load(Path(made["path"])).logits(TEXTS)[0]
    assert theirs == pytest.approx(ours, abs=1e-4)


def test_what_was_rewritten_is_not_taken_for_what_it_was_made_from(house):
    """Guards `quantize runs/TASK/MODEL` after an export: the newest run of that name is a graph."""
    makes(house, "export", "--format", "onnx")
    dry = json.loads(compress("quantize", "runs/reviews/start", "--dry-run", "--json").stdout)
    assert house["id"] in dry[0]["inputs"][0]


def test_a_plan_says_what_stays_in_full_precision(house):
    dry = compress("quantize", house["path"], "--method", "bnb-nf4", "--dry-run", "--json")
    told = " ".join(json.loads(dry.stdout)[0]["terms"])
    assert "tables in full precision: their rows are looked up in fp32" in told


def test_all_are_measured_together(house):
    methods = ("openvino-int8", "bnb-int8", "quanto-int8")
    paths = [makes(house, "quantize", "--method", method)["path"] for method in methods]
    sessions = json.loads(compress("measure", *paths, "--rounds", "1", "--shape", "1x16", "--json").stdout)
    assert [session["engine"] for session in sessions] == ["openvino", "pytorch", "quanto"]
    assert all(session["measurements"][0]["value"] > 0 for session in sessions)
