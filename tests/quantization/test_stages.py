"""Methods through the command line: a whole artefact each, scored, cached, and loaded by its own card."""

import json
import re
from pathlib import Path

import pytest
from transformers import AutoModel, set_seed
from typer.testing import CliRunner

from compress import api
from compress.cli.commands import app
from compress.quantizing import plan_quantization
from compress.recipes.quantization import DynamicInt8, PackedInt4, StaticInt8
from compress.runs import read_run
from compress.steps import Workplace
from tests.conftest import STUDENT, tiny_config, write_task

WAYS = {
    "static-int8": ["--samples", "32"],
    "packed-int8": [],
    "packed-int4": ["--max-drop", "0.01", "--block-size", "32"],
    "fp16": [],
    "bf16": [],
}


def compress(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output + result.stderr
    return result


def json_of(*arguments):
    return json.loads(compress(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    """A directory with a task and a student that has learned it."""
    root = tmp_path_factory.mktemp("house")
    set_seed(0)
    AutoModel.from_config(tiny_config("bert", tokenizer)).save_pretrained(root / "tiny-bert")
    tokenizer.save_pretrained(root / "tiny-bert")
    (root / "tiny-albert.toml").write_text(STUDENT)
    write_task(root, train=240, validation=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        made = json_of("finetune", "tiny-albert.toml", "--tokenizer", "tiny-bert", "--task", "reviews.toml")
        yield made


@pytest.mark.parametrize("method", WAYS)
def test_each_method_leaves_a_whole_artefact(method, house, monkeypatch, capsys):
    given = ["quantize", house["path"], "--method", method, *WAYS[method]]
    run = json_of(*given)
    path = Path(run["path"]).resolve()
    assert run["stage"]["method"]["kind"] == method
    assert run["parents"][0]["key"] == house["key"]
    assert run["parameters"] == house["parameters"]
    score = run["evaluations"][0]["scores"][0]["value"]
    assert score == pytest.approx(house["evaluations"][0]["scores"][0]["value"], abs=0.05)
    assert run["facts"]["relative_logit_error"] > 0
    assert {"config.json", "tokenizer.json", "README.md", "run.json"} <= {
        file.name for file in path.iterdir()
    }
    assert (path / "model.onnx").is_file() != (path / "model.safetensors").is_file()
    if method == "packed-int4":
        assert run["facts"]["holdout_score_before"] - run["facts"]["holdout_score"] <= 0.01 + 1e-9

    answers = json_of("predict", run["path"], "a lovely film .", "a dull film .")
    assert [answer["label"] for answer in answers] == ["good", "bad"]
    assert api.evaluate(run["path"])[0].scores[0].value == score
    assert json_of(*given)["started"] == run["started"]  # cached

    code = re.search(r"```python\n(.*?)```", (path / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(path)
    capsys.readouterr()
    exec(code.replace("A text.", "a lovely film ."), {})
    assert capsys.readouterr().out.strip() == "['good']"


def test_sixteen_bits_are_half_and_compute_in_them_where_they_can(house):
    run = json_of("quantize", house["path"], "--method", "bf16")
    sizes = [
        sum(f["bytes"] for name, f in made["files"].items() if "safetensors" in name) for made in (house, run)
    ]
    assert 0.45 * sizes[0] < sizes[1] < 0.65 * sizes[0]
    assert run["evaluations"][0]["engine"] in ("pytorch", "pytorch-bf16")
    assert json.loads(Path(run["path"], "config.json").read_text())["dtype"] == "bfloat16"


def test_the_plan_says_what_stays(house):
    plan = json_of("quantize", house["path"], "--method", "packed-int4", "--dry-run")
    assert any("biases" in line for line in plan[0]["terms"])


def test_texts_are_in_the_key_where_they_decide(house):
    """Guards a cached artefact whose scales are another data set's."""

    def keys(**changes):
        methods = {"dynamic": DynamicInt8(), "static": StaticInt8(), "mended": PackedInt4(max_drop=0.01)}
        place = Workplace()
        seed = changes.get("seed", 42)
        return {
            name: plan_quantization(house["path"], place, seed=seed, method=method).key
            for name, method in methods.items()
        }

    before, other = keys(), keys(seed=7)
    assert {name for name in before if before[name] != other[name]} == {"static", "mended"}
    train = Path("train.csv")
    text = train.read_text()
    train.write_text(text.replace("the", "a", 1))
    try:
        assert {name for name, key in keys().items() if key != before[name]} == {"static", "mended"}
    finally:
        train.write_text(text)


def test_a_module_that_is_not_there_is_told_with_those_that_are(house):
    result = compress("quantize", house["path"], "--method", "packed-int4", "--keep", "clasifier", expect=2)
    assert "classifier" in result.stderr
    assert not list(Path(house["path"]).parent.glob("quantize-*/model.onnx.*"))


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (["--method", "dynamic-int8", "--keep", "nonsense"], "No module 'nonsense'", 2),
        (
            ["--method", "quanto-int8", "--keep", "*position_embeddings"],
            "No module '*position_embeddings'",
            2,
        ),
        (["--method", "bnb-nf4"], "nf4 needs inputs in multiples of 64", 1),
    ],
)
def test_what_a_method_cannot_take_is_refused_in_the_plan(words, message, status, house):
    assert message in compress("quantize", house["path"], *words, "--dry-run", expect=status).stderr


def test_a_drop_is_from_the_model_as_it_was_before_it_was_trained(house):
    """Guards training that costs more than it brings: what is kept to is the named model's score, not its result's."""
    given = ["quantize", house["path"], "--method", "packed-int4", "--max-drop", "0.9"]
    ruin = ["--recover", "--max-steps", "4", "--learning-rate", "0.5"]
    plain, trained = json_of(*given), json_of(*given, *ruin)
    assert [parent["role"] for parent in trained["parents"]] == ["model", "reference"]
    assert trained["parents"][1]["key"] == house["key"]
    before = plain["facts"]["holdout_score_before"]
    assert trained["facts"]["holdout_score_before"] == before > trained["facts"]["holdout_score"] + 0.2
    other = compress(*given, "--recover", "--seed", "7", "--dry-run", expect=2)
    assert "Give the recovery the same seed: --seed 42" in " ".join(other.stderr.split())


def test_a_model_is_trained_for_what_it_will_be(house):
    """Quantization-aware training: a run of its own, taught by the model as it was, and then the method."""
    given = ["quantize", house["path"], "--method", "packed-int4", "--block-size", "256"]
    schedule = ["--max-steps", "30", "--learning-rate", "1e-3"]
    trained, _ = json_of(*given, "--recover", *schedule, "--dry-run")
    assert trained["recipe"]["simulates"]["block_size"] == 256
    assert "soft" in trained["terms"][0]
    assert [who.partition(":")[0] for who in trained["inputs"]] == ["teacher", "student"]
    run, plain = json_of(*given, "--recover", *schedule), json_of(*given)
    path = Path(run["path"])
    before = read_run(path.parent / Path(run["parents"][0]["origin"].removeprefix("run ")).name)
    assert (before.path / "model.safetensors").is_file()
    assert before.run.stage.simulates == run_method(run)
    assert before.run.facts["steps"] == 30
    assert "trained for packed-int4" in (before.path / "README.md").read_text()
    assert run["files"]["model.onnx"]["bytes"] == pytest.approx(
        plain["files"]["model.onnx"]["bytes"], rel=0.01
    )
    assert run["key"] != plain["key"]


def run_method(run):
    return PackedInt4.model_validate(run["stage"]["method"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "fp16", "--recover"], "dynamic-int8, packed-int8, packed-int4 can be trained for"),
        (["--learning-rate", "1e-3"], "would do nothing without --recover"),
        (["--recover", "--teacher", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_trained_for_is_refused(words, message, house):
    assert message in " ".join(compress("quantize", house["path"], *words, expect=2).stderr.split())
