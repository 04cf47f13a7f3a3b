"""Scores follow from the kept predictions; labels are matched by name."""

import numpy as np
import pyarrow.parquet
import pytest

from compress.data.task_data import load_task_data
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
