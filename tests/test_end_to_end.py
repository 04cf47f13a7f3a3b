"""The main job through the command line: teacher, student, int8, scores, timings, page."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.data.task_data import hold_out, load_task_data
from compress.errors import CompressError
from compress.pipeline import _make
from compress.quantizing import plan_quantization
from compress.steps import Workplace
from compress.tasks import resolve_task
from tests.conftest import write_corpus

FAST = ["--num-train-epochs", "5"]
SHAPES = ["--rounds", "2", "--shape", "1x32", "--shape", "8x32"]


def compress(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output + result.stderr
    return result


def json_of(*arguments):
    return json.loads(compress(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    """A directory with a teacher, a student, a task, and the chain of runs made from them."""
    from transformers import AutoModel, set_seed

    from tests.conftest import STUDENT, tiny_config, write_task

    root = tmp_path_factory.mktemp("house")
    set_seed(0)
    AutoModel.from_config(tiny_config("bert", tokenizer)).save_pretrained(root / "tiny-bert")
    tokenizer.save_pretrained(root / "tiny-bert")
    (root / "teachers").mkdir()
    (root / "teachers" / "tiny-teacher.toml").write_text(
        'description = "tiny"\nfamily = "bert"\nvocab_size = 32\n'
        '[source]\nkind = "local"\npath = "../tiny-bert"\n'
        "[architecture]\nnum_hidden_layers = 2\nhidden_size = 24\nnum_attention_heads = 3\nintermediate_size = 48\n"
        "[training]\nlearning_rate = 5e-3\nnum_train_epochs = 5\nper_device_train_batch_size = 16\nbf16 = false\n"
        "max_length = 32\n"
    )
    (root / "tiny-albert.toml").write_text(STUDENT)
    write_task(root, train=240, validation=100, metrics=("accuracy", "macro_f1"))
    return root


@pytest.fixture(scope="module")
def chain(house):
    """The main job, once: distilled (with its teacher), quantized, measured."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(house)
    teacher = [
        "--teacher",
        "teachers/tiny-teacher.toml",
        "--student",
        "tiny-albert.toml",
        "--task",
        "reviews.toml",
    ]
    distilled = json_of("distill", *teacher)
    quantized = json_of("quantize", "runs/reviews/tiny-albert")
    sessions = json_of("measure", "runs/reviews", *SHAPES)
    yield {"distill": distilled, "quantize": quantized, "sessions": sessions, "teacher": teacher}
    monkeypatch.undo()


def score_of(run):
    return run["evaluations"][0]["scores"][0]


def test_everything_is_good_and_smaller(chain):
    assert score_of(chain["distill"])["value"] > 0.9
    assert score_of(chain["quantize"])["value"] > 0.9
    assert score_of(chain["distill"])["n"] == 100
    assert Path(chain["quantize"]["path"], "model.onnx").is_file()
    assert not list(Path(chain["quantize"]["path"]).glob("*.safetensors"))
    assert chain["distill"]["parents"][0]["role"] == "teacher"
    assert chain["quantize"]["parents"][0]["key"] == chain["distill"]["key"]
    assert chain["distill"]["train_split"] == {"examples": 240, "published": None}
    assert chain["quantize"]["lineage"][-1]["train_split"] == {"examples": 240, "published": None}


def test_records_hold_no_path_of_this_machine(chain, house):
    for file in house.glob("runs/**/run.json"):
        assert str(house) not in file.read_text()


def test_a_second_time_nothing_is_computed(chain, house):
    before = {path: path.stat().st_mtime_ns for path in house.glob("runs/**/*") if path.is_file()}
    assert json_of("distill", *chain["teacher"])["key"] == chain["distill"]["key"]
    assert json_of("quantize", "runs/reviews/tiny-albert")["key"] == chain["quantize"]["key"]
    assert json_of("measure", "runs/reviews", *SHAPES) == chain["sessions"]
    assert {path: path.stat().st_mtime_ns for path in house.glob("runs/**/*") if path.is_file()} == before


def test_a_run_that_another_process_finished_meanwhile_is_not_redone(chain, house):
    """Guards hours spent twice: the run was finished between the plan and the lock."""
    step = plan_quantization("runs/reviews/tiny-albert", Workplace(), seed=42)
    assert (
        _make(step, {}, force=False).run.key == chain["quantize"]["key"]
    )  # no inputs: nothing could be made
    assert not list(house.glob("runs/**/*.redo"))


def test_a_dry_run_tells_the_plan_and_makes_nothing(chain, house):
    plan = json_of("distill", *chain["teacher"], "--dry-run")
    assert [step["cached"] for step in plan] == [True, True]
    assert plan[1]["estimated_steps"] == 8 * 14
    plan = json_of("distill", *chain["teacher"], "--seed", "7", "--dry-run")
    assert [step["cached"] for step in plan] == [True, False]  # another student, the same teacher
    assert not (house / "runs" / plan[1]["run"]).exists()


@pytest.mark.parametrize(
    "change",
    [
        ["--seed", "7"],
        ["--temperature", "1"],
        ["--learning-rate", "1e-3"],
        ["--hard-weight", "1"],
        ["--max-length", "9"],
    ],
)
def test_whatever_decides_the_result_is_in_the_key(chain, change):
    plan = json_of("distill", *chain["teacher"], *change, "--dry-run")
    assert not plan[-1]["cached"]


def test_a_changed_example_is_another_run(chain, house):
    train = house / "train.csv"
    text = train.read_text()
    train.write_text(text.replace("the", "a", 1))
    try:
        plan = json_of("distill", *chain["teacher"], "--dry-run")
        assert not any(step["cached"] for step in plan)
    finally:
        train.write_text(text)


def test_quantizing_draws_nothing_so_no_seed_makes_another_run(chain):
    plan = json_of("quantize", "runs/reviews/tiny-albert", "--seed", "7", "--dry-run")
    assert [step["cached"] for step in plan] == [True]


def test_the_teacher_is_gated_on_rows_that_it_has_not_learned(chain, house, monkeypatch):
    """Guards a teacher that has only memorized: the student's own hold-out is mostly what the teacher learned."""
    gated = []

    def answer(teacher, split, **_):
        gated.append(split.texts)
        raise CompressError("seen enough", "")

    monkeypatch.setattr("compress.distillation.answers.answer", answer)
    compress("distill", *chain["teacher"], "--seed", "7", expect=1)
    train = load_task_data(resolve_task("reviews.toml")).train
    assert gated == [hold_out(train, seed=42)[1].texts]
    assert gated != [hold_out(train, seed=7)[1].texts]


@pytest.mark.parametrize(("precision", "engine"), [("--bf16", "pytorch-bf16"), ("--no-bf16", "pytorch")])
def test_the_teacher_answers_in_the_students_precision(chain, monkeypatch, precision, engine):
    asked = []

    def answer(teacher, *_, **__):
        asked.append(teacher.predictor.engine.name)
        raise CompressError("seen enough", "")

    monkeypatch.setattr("compress.distillation.answers.answer", answer)
    compress("distill", *chain["teacher"], "--seed", "7", precision, expect=1)
    assert asked == [engine]


def test_teachers_are_gated_before_the_stages_on_documents(chain, house, monkeypatch):
    """Guards hours on a corpus, at whose end the teacher is found to have nothing to teach."""

    def answer(*_, **__):
        raise CompressError("no better than a constant", "")

    monkeypatch.setattr("compress.distillation.answers.answer", answer)
    write_corpus(house / "documents")
    short = "training = { max_length = 32 }"
    stages = f"[distill.minilm.small]\ngeneral.{short}\nprediction.{short}\n"
    (house / "general.toml").write_text((house / "tiny-albert.toml").read_text() + stages)
    general = ["--student", "general.toml", "--method", "minilm", "--corpus", "documents"]
    failed = compress("distill", *chain["teacher"], *general, expect=1)
    assert "no better than a constant" in failed.stderr
    assert not list(house.glob("runs/documents/*/general-*"))


def test_changed_validation_data_is_scored_anew_without_training(chain, house):
    """Guards scores of a file that is no longer there: the key knows only what training saw.

    The card tells the new score alone; when the file is what it was, `evaluate` makes the card what it was.
    """
    validation = house / "validation.csv"
    text = validation.read_text()
    card = house / "runs" / chain["distill"]["id"] / "README.md"
    before = card.read_text()
    validation.write_text(text.replace(",good", ",bad"))
    try:
        again = json_of("distill", *chain["teacher"])
        assert again["key"] == chain["distill"]["key"]
        scores = {each["data"]: each["scores"][0]["value"] for each in again["evaluations"]}
        assert len(scores) == 2
        assert min(scores.values()) < 0.9 < max(scores.values())
        told = [
            line for line in card.read_text().splitlines() if line.startswith("| reviews | validation | acc")
        ]
        assert [line.split(" | ")[3] for line in told] == [f"{min(scores.values()):.3f}"]
    finally:
        validation.write_text(text)
        known = {each["key"] for each in chain["distill"]["evaluations"]}
        for run in house.glob("runs/reviews/*/*"):
            own = {
                each["key"] for part in ("distill", "quantize") for each in chain[part]["evaluations"]
            } | known
            for file in run.glob("evaluations/*"):
                if run.name.startswith("distill") and file.stem not in own:
                    file.unlink()
    json_of("evaluate", f"runs/{chain['distill']['id']}")
    assert card.read_text() == before


def test_runs_task_model_means_the_newest_that_will_do(chain):
    """Guards quantizing the quantized: the newest run is int8, but only the distilled one can be quantized."""
    assert json_of("evaluate", "runs/reviews/tiny-albert")[0]["run"] == chain["quantize"]["id"]


PLAIN_TRANSFORMERS = """
import sys, json, torch, numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rows = json.load(sys.stdin)
right = 0
for text, label in rows:
    with torch.no_grad():
        logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
    right += model.config.id2label[int(logits.argmax())] == label
assert "compress" not in sys.modules
print(right / len(rows))
"""

PLAIN_ONNXRUNTIME = """
import sys, json, numpy as np, onnxruntime
from transformers import AutoTokenizer
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
labels = json.load(open(sys.argv[1] + "/config.json"))["id2label"]
names = [node.name for node in session.get_inputs()]
rows = json.load(sys.stdin)
rows.sort(key=lambda row: len(tokenizer(row[0], truncation=True)["input_ids"]))
right = 0
for start in range(0, len(rows), 32):
    batch = rows[start : start + 32]
    encoded = tokenizer([text for text, _ in batch], truncation=True, padding=True, return_tensors="np")
    logits = session.run(["logits"], {name: encoded[name].astype(np.int64) for name in names})[0]
    right += sum(labels[str(i)] == label for i, (_, label) in zip(logits.argmax(1), batch))
assert "compress" not in sys.modules
print(right / len(rows))
"""


@pytest.mark.parametrize(
    ("stage", "program"), [("distill", PLAIN_TRANSFORMERS), ("quantize", PLAIN_ONNXRUNTIME)]
)
def test_artefacts_work_without_us_and_give_the_recorded_score(chain, house, stage, program, alone):
    import csv

    with (house / "validation.csv").open() as stream:
        rows = [[row["review"], row["verdict"]] for row in csv.DictReader(stream)]
    done = alone.run(program, chain[stage]["path"], cwd=house, given=json.dumps(rows))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(score_of(chain[stage])["value"], abs=1e-9)


def test_predict_answers_whatever_the_backend(chain):
    for stage in ("distill", "quantize"):
        answers = json_of("predict", chain[stage]["path"], "a lovely film .", "a dull film .")
        assert [answer["label"] for answer in answers] == ["good", "bad"]
        assert all(0.5 < answer["score"] <= 1 for answer in answers)


def test_a_copy_is_whole_and_never_overwrites(chain, house):
    compress("distill", *chain["teacher"], "--save-to", "out")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {
        p.name for p in (house / "out").iterdir()
    }
    assert json_of("predict", "out", "a lovely film .")[0]["label"] == "good"
    result = compress("distill", *chain["teacher"], "--save-to", "out", expect=1)
    assert "not empty" in result.stderr


def test_a_measuring_session_covers_every_model(chain):
    assert len({session["session"] for session in chain["sessions"]}) == 1
    assert len(chain["sessions"]) == 3
    for session in chain["sessions"]:
        latencies = [m for m in session["measurements"] if m["name"] == "latency"]
        assert [m["conditions"]["batch"] for m in latencies] == [1, 8]
        assert all(len(m["samples"]) == 2 for m in latencies)
        parts = ("part_latency", "parameters")  # a part may have none
        assert all(m["value"] > 0 for m in session["measurements"] if m["name"] not in parts)
    assert {session["engine"] for session in chain["sessions"]} == {"pytorch", "onnxruntime"}


def test_what_cannot_be_measured_is_told(chain):
    result = compress("measure", "runs/reviews", "--shape", "1x100", expect=1)
    assert "takes at most 66 tokens" in result.stderr  # the teacher
    assert "takes at most 64 tokens, not 100" in result.stderr
    assert "no shape" in compress("measure", "runs/reviews", "--shape", "8by8", expect=2).stderr


def test_the_report_is_written_and_checks(chain, house):
    compress("report", "runs/reviews", "--output-dir", "reports/reviews")
    page = (house / "reports/reviews/index.html").read_text()
    assert "tiny-albert" in page
    compress("report", "--check", "--output-dir", "reports/reviews", "runs/reviews")
    (house / "reports/reviews/index.html").write_text(page.replace("tiny-albert", "tiny-alberto", 1))
    assert compress("report", "--check", "--output-dir", "reports/reviews", expect=1).stdout


def test_a_student_by_plain_fine_tuning(chain):
    run = json_of(
        "finetune",
        "tiny-albert.toml",
        "--tokenizer",
        "teachers/tiny-teacher.toml",
        "--task",
        "reviews.toml",
        *FAST,
    )
    assert run["stage"]["student"]["name"] == "tiny-albert"
    assert run["parameters"] == chain["distill"]["parameters"]


def test_a_teacher_that_knows_nothing_is_refused(chain, house):
    """Guards hours of distilling noise: the gate comes before the student moves."""
    steps = ["--max-steps", "1", "--learning-rate", "1e-9"]
    weak = json_of("finetune", "teachers/tiny-teacher.toml", "--task", "reviews.toml", *steps)
    chosen = ["--student", "tiny-albert.toml", "--task", "reviews.toml"]
    result = compress("distill", "--teacher", weak["path"], *chosen, expect=1)
    assert "nothing to teach" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(house.glob("runs/reviews/tiny-albert/*/.lock"))
    run = json_of("distill", "--teacher", weak["path"], *chosen, "--allow-weak-teacher", "--max-steps", "2")
    assert run["stage"]["allow_weak_teacher"]


def test_redoing_gives_the_same_weights(chain, house):
    path = Path(chain["distill"]["path"]) / "model.safetensors"
    before = path.read_bytes()
    stamp = path.stat().st_mtime_ns
    json_of("distill", *chain["teacher"], "--force")
    assert path.stat().st_mtime_ns != stamp
    assert path.read_bytes() == before
