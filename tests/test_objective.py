"""A learner is a model and its objective: one module, one loss, fair shares among processes."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compress import objective as module
from compress.finetuning import TaskObjective
from compress.objective import Judgement, Learner, Mean, Objective


class Told(Objective):
    """Judges everything alike."""

    def __init__(self, **terms):
        super().__init__()
        self.terms = terms
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, model, batch):
        values = {name: Mean(self.scale * mean, count) for name, (mean, count) in self.terms.items()}
        return Judgement(values, batch.get("logits"))


def test_the_loss_is_the_sum_of_the_terms():
    outputs = Learner(nn.Linear(2, 2), Told(one=(3.0, 4), two=(0.5, 9)))(logits=torch.ones(2))
    assert outputs["loss"].item() == 3.5
    seen = {name: (value.item(), count.item()) for name, (value, count) in outputs["seen"].items()}
    assert seen == {"one": (3.0, 4.0), "two": (0.5, 9.0)}
    assert not any(value.requires_grad for value, _ in outputs["seen"].values())
    assert torch.equal(outputs["logits"], torch.ones(2))


def test_what_the_objective_learns_is_seen_by_the_optimizer():
    learner = Learner(nn.Linear(2, 2), Told(one=(3.0, 1)))
    assert "objective.scale" in dict(learner.named_parameters())
    learner()["loss"].backward()
    assert learner.objective.scale.grad.item() == 3.0


@pytest.fixture
def processes(monkeypatch):
    """Loss of each of several processes, as their gradients' mean sees it."""

    def losses(*parts):
        monkeypatch.setattr(module, "world_size", lambda: len(parts))
        totals = [sum(part[name][1] for part in parts) for name in parts[0]]
        found = []
        for part in parts:
            coming = iter(totals)
            monkeypatch.setattr(
                torch.distributed, "all_reduce", lambda counts, coming=coming: counts.fill_(next(coming))
            )
            found.append(Learner(nn.Linear(1, 1), Told(**part))())
        return found

    return losses


def test_the_mean_over_processes_is_the_mean_over_the_batch(processes):
    """Guards a mean of unequal means: 30 tokens here and 10 there; terms are counted apart."""
    one, two = processes({"a": (2.0, 30), "b": (1.0, 1)}, {"a": (6.0, 10), "b": (4.0, 2)})
    expected = (30 * 2.0 + 10 * 6.0) / 40 + (1 * 1.0 + 2 * 4.0) / 3
    assert ((one["loss"] + two["loss"]) / 2).item() == pytest.approx(expected)
    assert one["seen"]["a"][0].item() == 2.0  # what is logged is this process's own


def test_a_process_that_has_nothing_to_judge_adds_nothing(processes):
    one, two = processes({"a": (2.0, 5)}, {"a": (0.0, 0)})
    assert ((one["loss"] + two["loss"]) / 2).item() == pytest.approx(2.0)


def test_a_batch_in_which_nobody_judges_anything_is_no_nan(processes):
    """Guards a batch in which no word was masked, in any process."""
    one, _ = processes({"a": (0.0, 0)}, {"a": (0.0, 0)})
    assert one["loss"].item() == 0.0


def test_the_hold_out_is_scored_by_every_process_alone(monkeypatch):
    monkeypatch.setattr(module, "world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: pytest.fail("it would wait for ever"))
    with torch.no_grad():
        assert Learner(nn.Linear(1, 1), Told(a=(2.0, 3)))()["loss"].item() == 2.0


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[2.0, 0.0], [0.0, 0.0]], [0, 1], (0.126928 + 0.693147) / 2),
        ([[2.0], [1.0]], [1.0, 4.0], (1.0 + 9.0) / 2),
    ],
)
def test_a_task_s_loss_is_its_only_term(logits, labels, expected):
    model = lambda **inputs: SimpleNamespace(logits=torch.tensor(logits))  # noqa: E731
    judged = TaskObjective()(model, {"input_ids": None, "labels": torch.tensor(labels)})
    assert set(judged.terms) == {"task"}
    assert judged.terms["task"].value.item() == pytest.approx(expected, rel=1e-5)
    assert judged.terms["task"].count == 2
