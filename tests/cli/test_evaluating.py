"""`compress evaluate` end to end: labels in any order and case, GLUE's splits and its server's files, what is refused."""

import json
import os
from pathlib import Path

import datasets
import pytest
from transformers import AutoModelForSequenceClassification, set_seed
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.errors import InvalidInputError
from compress.inference import load
from compress.submission import ask_server, write_submission
from compress.tasks import AX, GLUE, GLUE_TITLES, SUBMISSION_FILES, resolve_task
from tests.conftest import FILLER, tiny_config, write_reviews
from tests.malformed.tables import encode

SPLITS = {
    "mnli": ("validation_matched", "validation_mismatched", "test_matched", "test_mismatched"),
    "ax": ("test",),
    "stsb": ("validation", "test"),
    "cola": ("test",),
}
ROWS = 5
CLONE = os.environ.get("COMPRESS_GLUE")


@pytest.fixture(scope="module")
def models(tmp_path_factory, tokenizer):
    """Name → a classifier with random weights: by its labels, in an order and a case that are not GLUE's."""
    root = tmp_path_factory.mktemp("models")
    labels = {
        "nli": ("CONTRADICTION", "Entailment", "neutral"),
        "reviews": ("good", "bad"),
        "turned": ("BAD", "GOOD"),
        "three": ("bad", "good", "meh"),
        "cola": ("acceptable", "unacceptable"),
        "wnli": ("entailment", "not_entailment"),
    }
    for name, own in labels.items():
        set_seed(0)
        config = tiny_config("bert", tokenizer, id2label=dict(enumerate(own)), initializer_range=1.0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    config = tiny_config("bert", tokenizer, num_labels=1, problem_type="regression", initializer_range=3.0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(root / "number")
    tokenizer.save_pretrained(root / "number")
    return root


def texts_of(split):
    """A column of a split, the same for both sides of a pair."""
    return [f"the {FILLER[row + 2]} {split}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of GLUE of a few rows, its test splits without labels."""
    root, layout = tmp_path_factory.mktemp("glue"), ["---", "configs:"]
    for name, splits in SPLITS.items():
        task = AX if name == AX.name else GLUE[name]
        kind = datasets.ClassLabel(names=list(task.labels)) if task.labels else datasets.Value("float32")
        features = {column: datasets.Value("string") for column in task.text}
        layout += [f"- config_name: {name}", "  data_files:"]
        for split in splits:
            rows = {column: texts_of(split) for column in task.text}
            rows["label"] = [-1 if split.startswith("test") else row % 3 for row in range(ROWS)]
            table = datasets.Dataset.from_dict(rows, datasets.Features({**features, "label": kind}))
            (root / name).mkdir(exist_ok=True)
            table.to_parquet(str(root / name / f"{split}-00000-of-00001.parquet"))
            layout += [f"  - split: {split}", f"    path: {name}/{split}-*"]
    (root / "README.md").write_text("\n".join([*layout, "---", ""]))
    return root


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def predictions(evaluation):
    from pyarrow import parquet

    (file,) = Path("runs").rglob(evaluation["predictions"])
    return parquet.read_table(file).to_pydict()


class TestGlue:
    def test_a_model_of_mnli_is_scored_on_both_splits(self, models, clone):
        done = evaluate(models / "nli", "--task", "mnli", "--glue", clone, "--json")
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert [each["split"] for each in found] == ["validation_matched", "validation_mismatched"]
        assert all(each["scores"][0]["n"] == ROWS for each in found)

    def test_it_answers_the_diagnostic_set_which_has_no_labels(self, models, clone):
        done = evaluate(models / "nli", "--task", "ax", "--glue", clone)
        assert done.exit_code == 0, done.stderr
        assert "nli, test: answered; there are no labels" in done.stdout
        refused = CliRunner().invoke(
            app, ["finetune", str(models / "nli"), "--task", "ax", "--glue", str(clone)]
        )
        assert refused.exit_code == 2
        assert "no train split" in refused.stderr

    @pytest.mark.parametrize(
        ("model", "task", "names"),
        [
            ("nli", "mnli", ("MNLI-m.tsv", "MNLI-mm.tsv")),
            ("nli", "ax", ("AX.tsv",)),
            ("number", "stsb", ("STS-B.tsv",)),
            ("cola", "cola", ("CoLA.tsv",)),
        ],
    )
    def test_the_server_s_files(self, models, clone, model, task, names):
        """Guards labels by position: the models' orders are not GLUE's."""
        arguments = (models / model, "--task", task, "--glue", clone, "--submission", "server")
        done = evaluate(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        assert sorted(path.name for path in Path("server").iterdir()) == sorted(names)
        for name, evaluation in zip(names, json.loads(done.stdout), strict=True):
            header, *lines = (Path("server") / name).read_text().splitlines()
            assert header == "index\tprediction"
            rows = [line.split("\t") for line in lines]
            assert [index for index, _ in rows] == [str(number) for number in range(ROWS)]
            texts = texts_of(evaluation["split"])
            pairs = texts if task == "cola" else list(zip(texts, texts, strict=True))
            said = load(models / model).predict(pairs)
            if task == "stsb":
                wanted = [f"{min(max(each.score, 0), 5):.3f}" for each in said]
            elif task == "cola":
                wanted = [{"unacceptable": "0", "acceptable": "1"}[each.label] for each in said]
            else:
                wanted = [each.label.lower() for each in said]
            assert [answer for _, answer in rows] == wanted
            assert evaluation["scores"] == []
        again = evaluate(*arguments)
        assert again.exit_code == 2
        assert "nothing is overwritten" in again.stderr

    def test_its_labels_are_the_server_s_words(self, tmp_path):
        wanted = {
            "qnli": "not_entailment",
            "rte": "not_entailment",
            "wnli": "1",
            "mrpc": "1",
            "sst2": "1",
            "qqp": "1",
        }
        for name, answer in wanted.items():
            file = write_submission(GLUE[name], "test", [1, 0], tmp_path)
            assert file.name == f"{GLUE_TITLES[name]}.tsv"
            assert file.read_text().splitlines()[1] == f"0\t{answer}"
        assert write_submission(GLUE["stsb"], "test", [-0.2, 5.7, 2.34567], tmp_path).read_text() == (
            "index\tprediction\n0\t0.000\n1\t5.000\n2\t2.346\n"
        )
        assert set(SUBMISSION_FILES.values()) == {
            "CoLA.tsv",
            "SST-2.tsv",
            "MRPC.tsv",
            "STS-B.tsv",
            "MNLI-m.tsv",
            "MNLI-mm.tsv",
            "QNLI.tsv",
            "RTE.tsv",
            "WNLI.tsv",
            "AX.tsv",
            "QQP.tsv",
        }

    def test_another_task_is_none_of_the_server_s(self, tmp_path):
        with pytest.raises(InvalidInputError, match="does not know the task 'sample'"):
            ask_server(resolve_task("sample"), tmp_path)

    @pytest.mark.skipif(not CLONE, reason="COMPRESS_GLUE names no local clone")
    def test_the_real_clone(self, models):
        """Its test splits may be missing, which is told in one message."""
        done = evaluate(models / "wnli", "--task", "wnli", "--glue", CLONE, "--json")
        assert json.loads(done.stdout)[0]["scores"][0]["n"] == 71
        sent = evaluate(models / "wnli", "--task", "wnli", "--glue", CLONE, "--submission", "server")
        if any((Path(CLONE) / "wnli").glob("test-*")):
            assert len(Path("server/WNLI.tsv").read_text().splitlines()) == 147
        else:
            assert sent.exit_code == 1
            assert "The split 'test' of 'wnli' could not be read" in sent.stderr
            assert not Path("server").exists()


def write_own(validation, *, labels=None):
    """A user's own task, whose train split has the labels bad and good."""
    write_reviews(Path("train.csv"), 30, seed=1)
    Path("validation.csv").write_bytes(encode(validation, "csv"))
    order = f"labels = {json.dumps(labels)}\n" if labels else ""
    Path("own.toml").write_text(
        'kind = "classification"\ntrain = "train.csv"\nvalidation = "validation.csv"\n'
        f'text = ["review"]\nlabel = "verdict"\nmetrics = ["accuracy"]\n{order}'
    )
    return "own.toml"


REVIEWS = [
    {"review": f"a {word} film", "verdict": label} for word, label in (("dull", "bad"), ("warm", "good"))
] * 4


class TestOwnData:
    def test_labels_of_another_order_and_case_are_matched_by_name(self, models):
        """The same weights under turned labels give turned answers, and so the other score."""
        scores, logits = [], []
        for name in ("reviews", "turned"):
            done = evaluate(models / name, "--task", write_own(REVIEWS, labels=["good", "bad"]), "--json")
            assert done.exit_code == 0, done.stderr
            (found,) = json.loads(done.stdout)
            scores.append(found["scores"][0]["value"])
            logits.append(predictions(found)["logits"])
        assert logits[0] == [row[::-1] for row in logits[1]]
        assert sum(scores) == pytest.approx(1)

    def test_long_texts_are_cut_counted_and_told(self, models):
        long = [{"review": "film " * 5000, "verdict": "bad"}]
        done = evaluate(models / "reviews", "--task", write_own([*REVIEWS, *long]))
        assert done.exit_code == 0, done.stderr
        assert "1 of 9 texts were cut to 64 tokens" in done.stdout
        short = evaluate(models / "reviews", "--task", write_own(REVIEWS))
        assert "cut" not in short.stdout

    @pytest.mark.parametrize(
        ("model", "validation", "message"),
        [
            ("three", REVIEWS, "The task has no use for 'meh'."),
            ("number", REVIEWS, "The model answers ['a number']"),
            ("nli", REVIEWS, "the task 'own' asks for ['bad', 'good']"),
            (
                "reviews",
                [*REVIEWS, {"review": "so so", "verdict": "meh"}],
                "'meh' is none of ['bad', 'good']",
            ),
            (
                "reviews",
                [*REVIEWS, {"review": "  ", "verdict": "bad"}],
                "row 8 (from 0, line 10 of the file)",
            ),
        ],
    )
    def test_what_does_not_fit_is_one_error(self, models, model, validation, message):
        done = evaluate(models / model, "--task", write_own(validation))
        assert done.exit_code in (1, 2)
        assert done.stderr.count("Error: ") == 1
        assert message in done.stderr
        assert not Path("runs").exists()

    def test_labels_that_the_model_lacks_are_named(self, models):
        task = write_own([*REVIEWS, {"review": "so so", "verdict": "meh"}], labels=["bad", "good", "meh"])
        done = evaluate(models / "reviews", "--task", task)
        assert done.exit_code == 1
        assert "The model lacks 'meh'." in done.stderr
