"""Scores follow from the kept predictions; labels are matched by name."""

import types

import numpy as np
import pyarrow.parquet
import pytest

from compress.data.task_data import Split, load_task_data
from compress.encoder import build_classifier
from compress.errors import CompressError
from compress.evaluation import align_labels, decide, evaluate
from compress.inference import Predictor
from compress.recipes.resolve import resolve_student
from compress.statistics import METRICS
from compress.tasks import GLUE, resolve_task


def test_every_score_can_be_recomputed_from_the_predictions(tmp_path, task_file, student_file, tokenizer):
    data = load_task_data(resolve_task(str(task_file)))
    student = build_classifier(resolve_student(str(student_file)), tokenizer, data.task, seed=0)
    predictor = Predictor.of_encoder(student)
    (evaluation,) = evaluate(predictor, data.task, data.validation, run="r", directory=tmp_path)
    table = pyarrow.parquet.read_table(tmp_path / "evaluations" / evaluation.predictions).to_pydict()
    assert table["row"] == list(range(100))
    assert table["label"] == data.validation[0].labels.tolist()
    assert np.argmax(table["logits"], axis=1).tolist() == table["prediction"]
    for score in evaluation.scores:
        assert METRICS[score.name](np.array(table["label"]), np.array(table["prediction"])) == score.value
        assert score.n == 100
        assert score.low <= score.value <= score.high
    assert {path.suffix for path in (tmp_path / "evaluations").iterdir()} == {".json", ".parquet"}


class Broken:
    """A regression whose answers to two of the texts are no numbers."""

    labels, max_length = None, 128

    def logits(self, texts, *, batch_size):
        answers = np.arange(len(texts), dtype=np.float32)[:, None]
        answers[1:3] = [[np.nan], [np.inf]]
        return answers, 0


def test_answers_that_are_no_numbers_are_refused_before_anything_is_written(tmp_path):
    """Guards a record that holds `null` for a score: no command could read the run again."""
    predictor = Broken()
    predictor.engine = types.SimpleNamespace(name="pytorch")
    split = Split("validation", ["a"] * 5, np.arange(5.0))
    with pytest.raises(CompressError, match="r answers 2 of the 5 examples of validation with NaN") as error:
        evaluate(predictor, GLUE["stsb"], [split], run="r", directory=tmp_path)
    assert "learning rate" in error.value.fix
    assert not list(tmp_path.iterdir())


def test_labels_by_name():
    assert align_labels(("Positive", "Negative"), GLUE["sst2"]) == [1, 0]
    with pytest.raises(CompressError, match="asks for"):
        align_labels(("good", "bad"), GLUE["sst2"])
    with pytest.raises(CompressError):
        align_labels(None, GLUE["sst2"])
    assert align_labels(None, GLUE["stsb"]) == [0]


def test_decisions():
    logits = np.array([[0.1, 0.9], [2.0, -1.0]], dtype=np.float32)
    assert decide(GLUE["sst2"], logits).tolist() == [1, 0]
    assert decide(GLUE["stsb"], logits[:, :1]).tolist() == pytest.approx([0.1, 2.0])
