"""The last stage: teachers are gated before the hours of work; what a student learns of their answers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from compress.data.task_data import Split, TaskData, hold_out_rows
from compress.distillation import answers
from compress.distillation.answers import Gate, TaskTeacher, gate_teacher
from compress.distillation.objective import DistillationObjective, compare_models
from compress.errors import CompressError
from compress.losses.soft_targets import cross_entropy_to, mix_teachers
from compress.recipes.terms import HardTerm, SoftTerm
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
            answers, "answer", lambda teacher, split, **_: np.array([said[text] for text in split.texts])
        )
        return gate_teacher(data, TaskTeacher(None, Path("t"), SEED), store=Path("s"), allow_weak=allow_weak)

    return run


ALWAYS_ONE = [[0.0, 1.0]] * 4


def test_the_gate_compares_with_the_best_constant(gate):
    with pytest.raises(
        CompressError, match=r"0\.7500; the best constant answer has 0\.7500.*nothing to teach"
    ):
        gate("sst2", [1, 1, 1, 0], ALWAYS_ONE)
    weak = gate("sst2", [1, 1, 1, 0], ALWAYS_ONE, allow_weak=True)
    assert weak == Gate(0.75, 0.75)
    assert weak.is_weak
    sound = gate("sst2", [1, 1, 1, 0], [*ALWAYS_ONE[:3], [1.0, 0.0]])
    assert sound == Gate(1.0, 0.75)
    assert not sound.is_weak


def test_it_is_gated_on_its_own_hold_out(gate):
    """Rows that it has learned would say nothing: `said` knows the hold-out of the teacher's seed alone."""
    with pytest.raises(KeyError):
        gate_teacher_of_another_seed(gate)


def gate_teacher_of_another_seed(gate):
    gate("sst2", [1, 1, 1, 0], ALWAYS_ONE, allow_weak=True)
    split = Split("train", [str(row) for row in range(ROWS)], np.zeros(ROWS, dtype=np.int64))
    gate_teacher(
        TaskData(GLUE["sst2"], split, ()),
        TaskTeacher(None, Path("t"), SEED + 1),
        store=Path("s"),
        allow_weak=True,
    )


def test_wnli_is_exempt_and_says_so(gate, caplog):
    assert gate("wnli", [1, 1, 0, 0], ALWAYS_ONE).score == 0.5
    assert "hardly any model" in caplog.text


def test_a_regression_s_gate(gate):
    labels = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(CompressError, match="nothing to teach"):
        gate("stsb", labels, [[4.0], [3.0], [2.0], [1.0]])
    assert gate("stsb", labels, [[1.0], [2.0], [3.0], [4.0]]).score > 0.99


class Says(nn.Module):
    """Gives the logits that it was told to."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, **inputs):
        return SimpleNamespace(logits=self.logits)


def judged(terms, logits, labels, teachers, weights=(1.0,)):
    """Terms of a batch without texts; `teachers` are their logits, `[T, B, C]`."""
    config = SimpleNamespace(num_hidden_layers=1, hidden_size=4, num_attention_heads=1)
    comparisons = compare_models(terms, student=config, teacher=config)
    objective = DistillationObjective(comparisons, student=config, teacher=config, teacher_weights=weights)
    batch = {
        "attention_mask": torch.ones(len(labels), 1, dtype=torch.long),
        "labels": torch.tensor(labels),
        "teacher_logits": torch.tensor(teachers).transpose(0, 1),
    }
    return objective(Says(logits), batch)


def test_a_regression_follows_the_teacher_not_the_gold_score():
    """Guards STS-B distilled from gold: with the teacher's score reached, the loss is 0 whatever the label."""
    reached = judged([SoftTerm()], [[2.0], [3.0]], [5.0, 0.0], [[[2.0], [3.0]]])
    assert reached.terms["soft"].value.item() == 0.0
    missed = judged([SoftTerm()], [[5.0], [0.0]], [5.0, 0.0], [[[2.0], [3.0]]])
    assert missed.terms["soft"].value.item() == pytest.approx((3**2 + 3**2) / 2)


def test_teachers_of_a_regression_are_averaged_by_their_weights():
    found = judged([SoftTerm()], [[0.0]], [5.0], [[[2.0]], [[6.0]]], weights=(0.75, 0.25))
    assert found.terms["soft"].value.item() == pytest.approx((0.75 * 2 + 0.25 * 6) ** 2)


@pytest.mark.parametrize("weights", [(0.9, 0.1), (1.0, 3.0)])
def test_teachers_of_classes_are_mixed_by_their_weights(weights):
    logits, teachers = [[0.1, 0.4], [0.3, -0.4]], [[[2.0, -1.0], [0.5, 0.0]], [[-3.0, 3.0], [0.0, 1.0]]]
    found = judged([SoftTerm(temperature=2.0)], logits, [0, 1], teachers, weights=weights)
    mixed = mix_teachers(torch.tensor(teachers), list(weights), temperature=2.0)
    expected = cross_entropy_to(torch.tensor(logits), mixed, temperature=2.0)
    assert_close(found.terms["soft"].value, expected)
    alone = judged([SoftTerm(temperature=2.0)], logits, [0, 1], teachers[:1])
    assert (found.terms["soft"].value - alone.terms["soft"].value).abs() > 1e-2


def test_the_hard_term_is_on_gold_labels():
    logits = [[0.1, 0.2], [0.3, -0.4]]
    found = judged([HardTerm(weight=0.7)], logits, [0, 1], [[[9.0, 0.0], [9.0, 0.0]]])
    expected = 0.7 * nn.functional.cross_entropy(torch.tensor(logits), torch.tensor([0, 1]))
    assert_close(found.terms["hard"].value, expected)
    assert_close(found.logits, torch.tensor(logits))
