"""Soft labels: which terms there are, whom a regression follows, and the gate."""

import numpy as np
import pytest
import torch

from compress.data.task_data import Split
from compress.distillation.logits import LogitsObjective, gate_teacher
from compress.errors import CompressError
from compress.losses.soft_targets import soft_cross_entropy
from compress.recipes.methods import Logits
from compress.tasks import GLUE
from compress.training import Examples

BATCH = {"labels": torch.tensor([0, 1]), "teacher_logits": torch.tensor([[2.0, -1.0], [0.5, 0.0]])}
LOGITS = torch.tensor([[0.1, 0.2], [0.3, -0.4]])


def test_a_weight_of_zero_leaves_its_term_out():
    assert set(LogitsObjective(Logits(soft_weight=1, hard_weight=0))(LOGITS, BATCH)) == {"soft"}
    assert set(LogitsObjective(Logits(soft_weight=0, hard_weight=1))(LOGITS, BATCH)) == {"hard"}


def test_terms_are_weighted_and_softened():
    terms = LogitsObjective(Logits(soft_weight=0.3, hard_weight=0.7, temperature=2.0))(LOGITS, BATCH)
    soft = soft_cross_entropy(LOGITS, BATCH["teacher_logits"], temperature=2.0)
    assert terms["soft"].item() == pytest.approx(0.3 * soft.item())
    hard = torch.nn.functional.cross_entropy(LOGITS, BATCH["labels"])
    assert terms["hard"].item() == pytest.approx(0.7 * hard.item())


def test_a_regression_follows_the_teacher_not_the_gold_score():
    """Guards STS-B distilled from gold: with the teacher's score reached, the loss is 0 whatever the label."""
    batch = {"labels": torch.tensor([5.0]), "teacher_logits": torch.tensor([[2.0]])}
    assert LogitsObjective(Logits())(torch.tensor([[2.0]]), batch)["soft"].item() == 0.0


def examples(labels, logits):
    labels = np.array(labels)
    split = Split("holdout", ["x"] * len(labels), labels)
    return Examples(split, {"teacher_logits": np.array(logits, dtype=np.float32)})


def test_the_gate_compares_with_the_best_constant():
    always_one = examples([1, 1, 1, 0], [[0, 1]] * 4)
    with pytest.raises(CompressError, match=r"0\.7500.*0\.7500.*nothing to teach"):
        gate_teacher(GLUE["sst2"], always_one, allow_weak=False)
    assert gate_teacher(GLUE["sst2"], always_one, allow_weak=True) == 0.75
    perfect = examples([1, 1, 1, 0], [[0, 1], [0, 1], [0, 1], [1, 0]])
    assert gate_teacher(GLUE["sst2"], perfect, allow_weak=False) == 1.0


def test_wnli_is_exempt_and_says_so(caplog):
    assert gate_teacher(GLUE["wnli"], examples([1, 0], [[0, 1], [0, 1]]), allow_weak=False) == 0.5
    assert "hardly any model" in caplog.text


def test_a_regression_s_gate():
    with pytest.raises(CompressError):
        gate_teacher(GLUE["stsb"], examples([1.0, 2.0, 3.0], [[3.0], [2.0], [1.0]]), allow_weak=False)
    assert (
        gate_teacher(GLUE["stsb"], examples([1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]]), allow_weak=False) > 0.99
    )
