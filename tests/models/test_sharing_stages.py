"""Students that share a part of their layers go through every stage, and come out for those who do not have us."""

import json
from pathlib import Path

import onnx
import pytest
from transformers import AutoModel, AutoModelForSequenceClassification, set_seed
from typer.testing import CliRunner

from compress import api
from compress.cli.commands import app
from compress.encoder import build_config, count_parameters, load_finished
from compress.inference import load
from compress.planning import Workplace, plan_export
from compress.quantization.dynamic import quantize_dynamic_int8
from compress.recipes.schema import Architecture
from compress.recipes.stages import Export
from compress.runs import read_run
from compress.workers import Worker
from tests.conftest import STUDENT, WorkerHere, tiny_config, write_task

TEXTS = ["a lovely film .", "the story was dull and so stale"]
ALONE = """
import sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
batch = tokenizer(sys.argv[2:], padding=True, return_tensors="pt")
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
assert "compress" not in sys.modules
print(model(**batch).logits.tolist())
"""


def compress(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output + result.stderr
    return result


def json_of(*arguments):
    return json.loads(compress(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def chain(tmp_path_factory, tokenizer):
    """A student with one attention for all layers: trained, quantized, exported, measured."""
    root = tmp_path_factory.mktemp("house")
    set_seed(0)
    AutoModel.from_config(tiny_config("bert", tokenizer)).save_pretrained(root / "tiny-bert")
    tokenizer.save_pretrained(root / "tiny-bert")
    (root / "thrifty.toml").write_text(STUDENT.replace('"all"', '"attention"'))
    write_task(root, train=240, validation=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        trained = json_of(
            "finetune", "thrifty.toml", "--tokenizer", "tiny-bert", "--task", "reviews.toml", "--seed", "3"
        )
        quantized = json_of("quantize", trained["path"])
        exported = json_of("export", trained["path"], "--save-to", "plain")
        patch.setattr("compress.measurement.Worker", WorkerHere)
        sessions = json_of("measure", "runs/reviews", "--rounds", "1", "--shape", "1x16")
        yield {"finetune": trained, "quantize": quantized, "export": exported, "sessions": sessions}


def score_of(run):
    return run["evaluations"][0]["scores"][0]["value"]


def python_of(path):
    """The code that a card shows."""
    return (path / "README.md").read_text().partition("```python\n")[2].partition("```")[0]


def logits_of(path):
    return load(Path(path)).logits(TEXTS)[0]


def test_it_learns_and_keeps_its_sharing(chain):
    """Training writes, finds and loads checkpoints; none of it may part what is shared."""
    assert score_of(chain["finetune"]) > 0.9
    model = load_finished(Path(chain["finetune"]["path"])).model
    first, second = (group.albert_layers[0] for group in model.albert.encoder.albert_layer_groups)
    assert first.attention.query.weight.data_ptr() == second.attention.query.weight.data_ptr()
    assert (first.ffn.weight - second.ffn.weight).abs().max() > 1e-3
    assert count_parameters(model) == chain["finetune"]["parameters"]


def test_int8_stores_what_is_shared_once(chain):
    graph = onnx.load(Path(chain["quantize"]["path"]) / "model.onnx").graph
    weights = [node.input[1] for node in graph.node if node.op_type == "MatMulInteger"]
    # Projection, pooler, classifier; four matrices of attention; two of each layer's own network.
    assert len(set(weights)) == 3 + 4 + 2 * 2
    assert len(weights) == 3 + 2 * (4 + 2)
    assert score_of(chain["quantize"]) == pytest.approx(score_of(chain["finetune"]), abs=0.03)
    assert "layers share a part" not in Path(chain["quantize"]["path"], "README.md").read_text()


def test_the_export_answers_the_same_without_us(chain, alone):
    ours, plain = chain["finetune"], chain["export"]
    assert plain["stage"] == {"kind": "export", "format": "transformers"}
    assert plain["parents"][0]["key"] == ours["key"]
    assert (plain["facts"]["model_type"], plain["facts"]["layers_copied"]) == ("albert", True)
    assert plain["parameters"] - ours["parameters"] == 4 * (32 * 32 + 32) + 2 * 32
    assert score_of(plain) == score_of(ours)
    for path in (plain["path"], "plain"):
        done = alone.run(ALONE, path, *TEXTS)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == pytest.approx(logits_of(ours["path"]), abs=1e-6)


def test_ours_does_not_load_without_us_and_says_what_to_do(chain, alone):
    """Guards a card that promises more than holds; its own code is what is run."""
    path = Path(chain["finetune"]["path"])
    done = alone.run(ALONE, path, *TEXTS)
    assert "partially_shared_albert" in done.stderr
    card = (path / "README.md").read_text()
    assert "loads after `import compress`" in card
    assert "compress export . --save-to ../plain" in card
    code = python_of(path)
    done = alone.run(code, cwd=path)
    assert done.returncode == 0, done.stderr
    assert "import compress" in code
    assert "compress" not in python_of(Path(chain["export"]["path"]))


def test_the_int8_directory_s_tokenizer_loads_without_us(chain, alone):
    code = "import sys; from transformers import AutoTokenizer; AutoTokenizer.from_pretrained(sys.argv[1])"
    done = alone.run(code, chain["quantize"]["path"])
    assert done.returncode == 0, done.stderr


def test_all_are_measured_and_answer(chain):
    runs = {session["run"] for session in chain["sessions"]}
    assert runs == {chain[stage]["id"] for stage in ("finetune", "quantize", "export")}
    for stage in ("finetune", "quantize", "export"):
        answers = json_of("predict", chain[stage]["path"], *TEXTS)
        assert [answer["label"] for answer in answers] == ["good", "bad"]
        assert json_of("evaluate", chain[stage]["path"])[0]["scores"]
    with Worker(Path(chain["finetune"]["path"]), name="ours", threads=1) as worker:
        worker.wait()
        assert worker.load().engine == "pytorch"


def test_an_export_is_a_run_like_any_other(chain):
    again = json_of("export", chain["finetune"]["path"])
    assert again["id"] == chain["export"]["id"]
    assert again["started"] == chain["export"]["started"]
    assert api.export(chain["finetune"]["path"]).run.key == chain["export"]["key"]
    assert "export" in compress("runs", "list").stdout
    compress("report", "runs/reviews", "--output-dir", "page")
    assert "for transformers" in Path("page/README.md").read_text()
    step = plan_export("runs/reviews/thrifty", Workplace(), seed=9, stage=Export())
    assert step.inputs["model"].key == chain["export"]["key"]  # the newest of that name, trainable as it is
    assert (step.optimizer_steps, step.seed) == (0, 9)


def test_what_is_plain_already_is_exported_as_it_is(chain):
    twice = json_of("export", chain["export"]["path"])
    assert twice["facts"]["layers_copied"] is False
    assert read_run(Path(twice["path"])).run.parameters == chain["export"]["parameters"]
    assert logits_of(twice["path"]) == pytest.approx(logits_of(chain["export"]["path"]), abs=0)


def test_an_unknown_format_is_an_error(chain):
    result = compress("export", chain["finetune"]["path"], "--format", "tflite", expect=2)
    assert "The formats are: transformers" in result.stderr


@pytest.mark.parametrize(("share", "groups", "own"), [("ffn", 1, 4 * 3 + 2), ("all", 3, 6 * 3)])
def test_other_ways_to_share_are_stored_once(share, groups, own, tokenizer, tmp_path):
    shape = Architecture(
        num_hidden_layers=3 if share == "ffn" else 6,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=64,
        embedding_size=16,
        max_position_embeddings=64,
        share=share,
        num_hidden_groups=groups,
    )
    set_seed(0)
    model = AutoModelForSequenceClassification.from_config(build_config(shape, "albert", tokenizer)).eval()
    quantize_dynamic_int8(model, tmp_path, input_names=["input_ids", "attention_mask", "token_type_ids"])
    graph = onnx.load(tmp_path / "model.onnx").graph
    weights = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
    assert len(weights) == 3 + own
