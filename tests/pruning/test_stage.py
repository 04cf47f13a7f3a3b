"""Pruning through the command line: what is kept of it, what it is keyed by, and what is refused before any work."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, set_seed
from typer.testing import CliRunner

from compress import api
from compress.cli.commands import app
from compress.errors import InvalidInputError
from compress.models.plain import to_plain
from compress.pipeline import execute
from compress.planning import Options
from compress.recipes.pruning import Removal
from compress.recipes.stages import Distill, Prune
from compress.recovery import Recovery
from compress.runs import Run, find_runs, read_run
from compress.slimming import plan_pruning
from compress.steps import Workplace
from tests.conftest import tiny_config, write_task
from tests.pruning.conftest import logits

LABELS = {"num_labels": 2, "id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
FAST = ["--max-steps", "2", "--max-length", "32", "--no-bf16", "--allow-weak-teacher"]


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    """A task, and a classifier of its labels that nobody taught."""
    root = tmp_path_factory.mktemp("house")
    set_seed(0)
    config = tiny_config("bert", tokenizer, num_hidden_layers=3, initializer_range=0.3, **LABELS)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    write_task(root, train=80, validation=40)
    return root


@pytest.fixture
def prune(house, monkeypatch):
    """Words of a command → what it says; `expect` is its exit status, 2 where the words are wrong."""
    monkeypatch.chdir(house)

    def run(*words, model="model", command="prune", expect=0):
        arguments = [command, model, "--task", "reviews.toml", *words]
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == expect, result.output + result.stderr
        return result.stderr if expect else json.loads(result.stdout)

    return run


def plan(house, seed=1, recovery=None, model="model", corpus=None, **more):
    stage = Prune(**{"remove": Removal(ffn=0.5), **more})
    return plan_pruning(
        str(house / model),
        Workplace(house / "runs"),
        seed=seed,
        stage=stage,
        task=str(house / "reviews.toml"),
        recovery=recovery,
        corpus=corpus,
    )


def test_three_commands_in_a_row(prune, house):
    """Heads alone need us; exported they do not, and answer the same; the record says what went and what was rounded."""
    made = prune("--heads", "0.5", "--ffn", "0.4", "--json")
    assert (made["stage"]["kind"], made["task"]["name"]) == ("prune", "reviews")
    assert made["facts"]["removed"].startswith("heads 3 → 2 (0.5 asked")
    assert made["facts"]["parameters_before"] > made["parameters"]
    assert made["evaluations"][0]["scores"][0]["n"] == 40
    card = (house / made["path"] / "README.md").read_text()
    assert "pruned (heads 0.5, ffn 0.4)" in card
    assert "fewer than its width has room for, which `transformers` lacks" in card
    plain = prune("--json", command="export", model=made["path"])
    assert plain["parents"][0]["origin"] == f"run {made['id']}"
    assert plain["facts"]["model_type"] == "bert"
    ours, theirs = (
        AutoModelForSequenceClassification.from_pretrained(house / run["path"]).eval()
        for run in (made, plain)
    )
    assert logits(theirs) == pytest.approx(logits(ours), abs=1e-6)
    assert "loads after `import compress`" not in (house / plain["path"] / "README.md").read_text()
    again = prune(
        "--layers",
        "1",
        "--layer-rule",
        "importance",
        "--importance",
        "taylor",
        "--hidden",
        "0.5",
        "--json",
        model=plain["path"],
    )
    assert len(again["facts"]["layers_kept"]) == 2
    assert Run.model_validate(read_run(house / again["path"]).run.model_dump()).stage.reads_texts


def test_pruned_trimmed_and_quantized_it_answers_and_knows_where_it_comes_from(prune):
    pruned = prune("--ffn", "0.5", "--json")
    trimmed = prune("--vocabulary", "30", "--json", model=pruned["path"])
    small = prune("--method", "packed-int4", "--json", command="quantize", model=trimmed["path"])
    assert [ancestor["id"] for ancestor in small["lineage"]] == [pruned["id"], trimmed["id"]]
    assert small["lineage"][0]["stage"] == pruned["stage"]
    assert small["lineage"][1]["command"] == trimmed["command"]
    answers = CliRunner().invoke(app, ["predict", small["path"], "a lovely film", "dull", "--json"])
    assert {answer["label"] for answer in json.loads(answers.stdout)} <= {"good", "bad"}


def test_what_decides_is_in_the_key(house):
    assert plan(house).key == plan(house, seed=2).key
    assert plan(house).key != plan(house, remove=Removal(ffn=0.4)).key
    for importance in ("random", "taylor"):
        assert plan(house, importance=importance).key != plan(house, importance=importance, seed=2).key
    by_rule = {"remove": Removal(layers=1, layer_rule="importance")}
    assert plan(house, **by_rule).key != plan(house, seed=2, **by_rule).key
    before = plan(house, importance="taylor").key, plan(house).key
    with (house / "train.csv").open("a") as stream:
        stream.write("a lovely film,good\n")
    assert plan(house, importance="taylor").key != before[0]
    assert plan(house).key == before[1]


def test_heads_of_their_own_size_are_quantized(prune):
    made = prune("--heads", "0.5", "--ffn", "0.4", "--json")
    small = prune("--json", command="quantize", model=made["path"])
    assert small["parents"][0]["origin"] == f"run {made['id']}"
    assert small["facts"]["quantized_matmuls"] == 3 * 6 + 2


def test_pieces_go_with_the_tokenizer(prune, house):
    made = prune("--vocabulary", "30", "--ffn", "0.5", "--importance", "taylor", "--json")
    assert made["facts"]["removed"].startswith("vocabulary 32 → 30; ffn 48 → 24")
    assert 0 <= made["facts"]["tokens_changed"] < 1
    config = json.loads((house / made["path"] / "config.json").read_text())
    assert (config["vocab_size"], config["intermediate_size"]) == (30, 24)
    options = Options(training={"max_steps": 2, "bf16": False, "max_length": 32})
    remove = Removal(vocabulary=30, ffn=0.5)
    first, *_, last = plan(house, remove=remove, recovery=Recovery(rounds=2, options=options)).unfold()
    assert [term.loss for term in last.stage.terms] == ["soft"]  # hidden states are of other tokens
    assert first.stage.remove.vocabulary == 30
    assert last.inputs["student"].stage.remove.vocabulary is None


def test_the_pieces_that_documents_use_stay(prune, house):
    """Other documents than the task's keep other pieces, and decide the key; their number is known before."""
    documents = house / "documents"
    documents.mkdir()
    (documents / "one.txt").write_text("the lovely film was witty and the plot very dull\n")
    (documents / "two.txt").write_text("a scene so grim .\n")
    given = ["--vocabulary", "used", "--corpus", "documents", "--json"]
    (step,) = prune(*given, "--dry-run")
    made = prune(*given)
    kept = set(json.loads((house / made["path"] / "tokenizer.json").read_text())["model"]["vocab"])
    assert {"lovely", "witty", "dull", "grim", "scene"} <= kept
    assert {"bright", "music", "clumsy"}.isdisjoint(kept)
    assert f"vocabulary 32 → {len(kept)}" in step["terms"][1]
    assert made["stage"]["pieces_from"]["origin"] == "documents"
    assert made["facts"]["tokens_changed"] > 0.1
    assert (
        f"(vocabulary {len(kept)} (counted in documents))" in (house / made["path"] / "README.md").read_text()
    )
    shutil.copytree(documents, house / "moved")
    (moved,) = prune("--vocabulary", "used", "--corpus", "moved", "--dry-run", "--json")
    assert moved["cached"]
    assert step["run"] == made["id"]
    by_task = prune("--vocabulary", len(kept), "--json")
    assert "pieces_from" not in by_task["stage"]
    assert by_task["key"] != made["key"] == prune(*given)["key"]
    (documents / "two.txt").write_text("a scene so stale .\n")
    (other,) = prune(*given, "--dry-run")
    assert not other["cached"]


def test_documents_that_change_under_a_plan_are_refused(house, monkeypatch):
    monkeypatch.chdir(house)
    Path("moving.txt").write_text("a lovely film\n")
    step = plan(house, remove=Removal(vocabulary="used"), corpus="moving.txt")
    Path("moving.txt").write_text("a dull film\n")
    with pytest.raises(InvalidInputError, match="no longer what it was"):
        execute(step)


def test_a_rule_for_layers_that_are_passed_again_is_refused(house, tokenizer):
    config = tiny_config("albert", tokenizer, **LABELS)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(house / "shared")
    tokenizer.save_pretrained(house / "shared")
    with pytest.raises(InvalidInputError, match="all passes through shared layers are alike"):
        plan(house, model="shared", remove=Removal(layers=1, layer_rule="first"))


def test_a_dry_run_tells_what_each_pass_leaves(prune, house):
    (step,) = prune("--ffn", "0.5", "--hidden", "0.34", "--dry-run", "--json")
    assert len(step["terms"]) == 3
    assert "ffn 48 → 24" in step["terms"][1]
    assert "M parameters" in step["terms"][2]
    (step,) = prune("--target-parameters", "8000", "--dry-run", "--json")
    removed = step["recipe"]["remove"]
    assert removed["ffn"] == removed["hidden"] > 0


def test_it_recovers_in_rounds(house):
    """Two rounds: pruned, taught, pruned further, taught again; each a run of its own, the model as it was the teacher."""
    options = Options(training={"max_steps": 2, "bf16": False, "max_length": 32})
    recovery = Recovery(rounds=2, allow_weak_teacher=True, options=options)
    last = plan(house, remove=Removal(ffn=0.67, layers=1), recovery=recovery)
    steps = last.unfold()
    assert [step.stage.kind for step in steps] == ["prune", "distill", "prune", "distill"]
    assert [term.loss for term in last.stage.terms] == ["soft", "hidden"]
    assert last.inputs["teacher"].path == house / "model"
    assert Distill.model_validate_json(last.stage.model_dump_json()) == last.stage


def test_it_recovers(prune, house):
    made = prune("--hidden", "0.34", "--recover", *FAST, "--json")
    assert made["stage"]["method"] == "recovery"
    assert made["facts"]["steps"] == 2
    assert [parent["role"] for parent in made["parents"]] == ["teacher", "student"]
    config = json.loads((house / made["path"] / "config.json").read_text())
    assert (config["hidden_size"], config["model_type"]) == (16, "bert")
    assert "pruned and recovered" in (house / made["path"] / "README.md").read_text()


def test_a_recovery_that_is_repeated_or_was_cut_off_goes_on_from_where_it_began(prune, tmp_path):
    """Guards that what a command has made, the newest run by now, is pruned once more, and teaches."""
    store = tmp_path / "runs"
    began = prune("--runs", store, "--json", command="export")
    words = ("--ffn", "0.34", "--recover", *FAST, "--runs", store, "--json")
    made = prune(*words, model=began["path"])
    assert prune(*words, model=store / "reviews" / "model")["id"] == made["id"]
    shutil.rmtree(made["path"])
    assert prune(*words, model=store / "reviews" / "model")["id"] == made["id"]
    assert len(find_runs(store)) == 3
    assert prune(*words, model=made["path"])["id"] != made["id"]  # that one is meant


def test_what_was_pruned_recovers_by_the_schedule_that_it_had_learned_by(house, tmp_path, monkeypatch):
    monkeypatch.chdir(house)
    changes = {"max_steps": 2, "max_length": 33, "bf16": False}
    options, place = Options(training=changes), {"runs": tmp_path / "runs"}
    learned = api.finetune("model", task="reviews.toml", options=options, **place)
    narrow = api.prune(str(learned.path), remove=Removal(ffn=0.34), **place)
    again = plan(house, model=narrow.path, recovery=Recovery(allow_weak_teacher=True))
    assert again.stage.training == learned.run.stage.training


def test_texts_longer_than_its_positions_are_refused_before_it_is_pruned(house):
    with pytest.raises(InvalidInputError, match="The model takes at most 66 tokens, not 128"):
        plan(house, recovery=Recovery(allow_weak_teacher=True))


REFUSED = [
    ([], "Nothing would be removed"),
    (["--ffn", "1"], "less than 1"),
    (["--ffn", "-0.5"], "greater than or equal to 0"),
    (["--heads", "0.9"], "would leave none of the 3 heads"),
    (["--layers", "3"], "has 3 layers"),
    (["--vocabulary", "32"], "removes nothing: the word table has 32 rows"),
    (["--vocabulary", "3", "--dry-run"], "has no room for 5 special tokens"),
    *(
        (["--vocabulary", said], f"--vocabulary {said} is no number of pieces")
        for said in ("many", "USED", "0", "-5", "30.5")
    ),
    (["--ffn", "0.5", "--corpus", "documents"], "--corpus would do nothing without --vocabulary"),
    (["--vocabulary", "30", "--corpus", "nowhere"], "There is no corpus 'nowhere'"),
    (["--heads", "0.05", "--ffn", "0.5"], "--heads 0.05 would remove nothing: heads 3 → 3"),
    (["--ffn", "0.5", "--layer-rule", "first"], "--layer-rule first would do nothing"),
    (["--embedding", "0.5"], "no width of their own"),
    (["--ffn", "0.5", "--importance", "charm"], "magnitude"),
    (["--layers", "1", "--layer-rule", "middle"], "alternate"),
    (["--ffn", "0.5", "--learning-rate", "1e-3"], "would do nothing without --recover"),
    (["--ffn", "0.5", "--allow-weak-teacher"], "--allow-weak-teacher would do nothing"),
    (["--ffn", "0.5", "--select-on", "validation"], "--select-on would do nothing"),
    (["--ffn", "0.5", "--steps", "0"], "--steps is 1 or more"),
    (["--sparsity", "0.5", "--recover"], "zeros of --sparsity"),
    (["--target-size", "3 stone"], "is no size"),
    (["--target-size", "3MB", "--target-parameters", "9"], "two targets"),
    (["--target-size", "1kB"], "still has"),
    (["--shrink", "ffn", "--ffn", "0.5"], "without a target"),
    (["--shrink", "tail", "--target-size", "1kB"], "is no part"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_is_refused(words, message, prune, house):
    said = prune(*words, expect=2)
    assert message in " ".join(said.split())
    assert "Traceback" not in said


def test_what_is_no_classifier_is_refused(prune, house, tokenizer):
    shutil.copytree(house / "model", house / "graph", dirs_exist_ok=True)
    (house / "graph" / "model.safetensors").rename(house / "graph" / "model.onnx")
    assert "holds model.onnx: it can answer" in prune("--ffn", "0.5", model="graph", expect=1)
    shutil.copytree(house / "model", house / "headless", dirs_exist_ok=True)
    file = house / "headless" / "config.json"
    file.write_text(file.read_text().replace("BertForSequenceClassification", "BertModel"))
    assert "has no classifier for the labels" in prune("--ffn", "0.5", model="headless", expect=2)
    assert "has no classifier" in prune("--dry-run", command="export", model="headless", expect=2)
    shutil.copytree(house / "model", house / "damaged", dirs_exist_ok=True)
    file = house / "damaged" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "no whole safetensors file" in prune("--ffn", "0.5", model="damaged", expect=1)
    labels = json.loads((house / "model" / "config.json").read_text())["label2id"]
    config = {"model_type": "deberta-v2", "architectures": ["DebertaV2ForSequenceClassification"]}
    config |= {"label2id": labels, "id2label": {str(value): name for name, value in labels.items()}}
    (house / "damaged" / "config.json").write_text(json.dumps(config))
    assert "cannot be pruned" in prune("--ffn", "0.5", model="damaged", expect=2)


def test_a_plain_model_is_not_copied(house):
    model = AutoModelForSequenceClassification.from_pretrained(house / "model")
    assert to_plain(model) is model
