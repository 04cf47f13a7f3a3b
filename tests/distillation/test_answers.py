"""The last stage: teachers are gated before the hours of work, and asked in the task's order of labels."""

from pathlib import Path

import numpy as np
import pytest

from compress.data.task_data import Split, TaskData, hold_out_rows
from compress.distillation import answers
from compress.distillation.answers import TaskTeacher, gate_teacher
from compress.errors import CompressError
from compress.tasks import GLUE

ROWS, SEED = 40, 42
HELD = hold_out_rows(ROWS, seed=SEED)[1]


@pytest.fixture
def gate(monkeypatch):
    """Gate a teacher that answers the hold-out with the given logits; the hold-out has the given labels."""

    def run(task, labels, logits, *, allow_weak=False):
        whole = np.zeros(ROWS, dtype=np.asarray(labels).dtype)
        whole[HELD] = labels
        data = TaskData(GLUE[task], Split("train", [str(row) for row in range(ROWS)], whole), ())
        said = dict(zip(map(str, HELD), logits, strict=True))
        monkeypatch.setattr(
            answers, "answer", lambda teacher, task, split: np.array([said[text] for text in split.texts])
        )
        return gate_teacher(data, TaskTeacher(None, Path("t"), SEED), allow_weak=allow_weak)

    return run


ALWAYS_ONE = [[0.0, 1.0]] * 4


def test_the_gate_compares_with_the_best_constant(gate):
    with pytest.raises(
        CompressError, match=r"0\.7500; the best constant answer has 0\.7500.*nothing to teach"
    ):
        gate("sst2", [1, 1, 1, 0], ALWAYS_ONE)
    assert gate("sst2", [1, 1, 1, 0], ALWAYS_ONE, allow_weak=True) == 0.75
    assert gate("sst2", [1, 1, 1, 0], [*ALWAYS_ONE[:3], [1.0, 0.0]]) == 1.0


def test_it_is_gated_on_its_own_hold_out(gate):
    """Rows that it has learned would say nothing: `said` knows the hold-out of the teacher's seed alone."""
    with pytest.raises(KeyError):
        gate_teacher_of_another_seed(gate)


def gate_teacher_of_another_seed(gate):
    gate("sst2", [1, 1, 1, 0], ALWAYS_ONE, allow_weak=True)
    split = Split("train", [str(row) for row in range(ROWS)], np.zeros(ROWS, dtype=np.int64))
    gate_teacher(TaskData(GLUE["sst2"], split, ()), TaskTeacher(None, Path("t"), SEED + 1), allow_weak=True)


def test_wnli_is_exempt_and_says_so(gate, caplog):
    assert gate("wnli", [1, 1, 0, 0], ALWAYS_ONE) == 0.5
    assert "hardly any model" in caplog.text


def test_a_regression_s_gate(gate):
    labels = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(CompressError, match="nothing to teach"):
        gate("stsb", labels, [[4.0], [3.0], [2.0], [1.0]])
    assert gate("stsb", labels, [[1.0], [2.0], [3.0], [4.0]]) > 0.99
