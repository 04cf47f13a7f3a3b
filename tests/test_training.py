"""Training is repeatable, resumable, and keeps the weights that were best on the hold-out."""

import json
import shutil
import time
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from compress.budgets import Minutes
from compress.checkpoints import COMPLETE
from compress.data.batching import WithColumn, pad_rows
from compress.data.task_data import hold_out, load_task_data, tokenize_split
from compress.distillation.objective import DistillationObjective, compare_models
from compress.encoder import build_classifier
from compress.errors import CompressError, InvalidInputError
from compress.finetuning import TaskObjective
from compress.objective import Judgement, Mean
from compress.recipes.resolve import resolve_student
from compress.recipes.terms import HardTerm, SoftTerm
from compress.tasks import resolve_task
from compress.trainer import Trainer
from compress.training import Place, Pupil, steps_of, train


@pytest.fixture
def setting(tmp_path, task_file, student_file, tokenizer):
    """What a training needs; `run(name, …)` trains a student anew and gives it and the outcome."""
    data = load_task_data(resolve_task(str(task_file)))
    student = resolve_student(str(student_file))
    rest, held = hold_out(data.train, seed=0)

    def run(name, objective=None, columns=None, seed=3, minutes=None, **changes):
        encoder = build_classifier(student, tokenizer, data.task, seed=seed)

        def tokenized(split):
            examples = tokenize_split(split, tokenizer, max_length=student.training.max_length)
            for name, values in (columns or {}).items():
                examples = WithColumn(examples, name, values[: len(split)])
            return examples

        outcome = train(
            Pupil(encoder, seed, Place(tmp_path / "runs", tmp_path / name, tmp_path / name / "checkpoints")),
            objective(encoder.model.config) if objective else TaskObjective(),
            examples=tokenized(rest),
            holdout=tokenized(held),
            collate=partial(pad_rows, tokenizer=tokenizer),
            task=data.task,
            training=student.training.model_copy(update=changes),
            budget=Minutes(minutes) if minutes else None,
        )
        return encoder.model, outcome

    run.path = tmp_path
    run.rows = len(rest)
    return run


def same_weights(left, right):
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_it_learns(setting):
    _, outcome = setting("a")
    assert outcome.best > 0.9  # one word gives the label away; the majority has 0.6
    assert outcome.facts["steps"] == 8 * 14
    assert outcome.facts["holdout_score"] == outcome.best


def test_the_same_seed_gives_the_same_weights_bit_for_bit(setting):
    assert same_weights(setting("a")[0], setting("b")[0])
    assert not same_weights(setting("c", seed=4)[0], setting("a")[0])


class KilledError(Exception):
    """Stands for a SIGKILL: nothing of ours runs after it."""


@pytest.mark.parametrize("at_step", [9, 15, 30, 61])
def test_killed_and_started_again_ends_in_the_undisturbed_weights(setting, monkeypatch, at_step):
    undisturbed, _ = setting("a")
    step = Trainer.training_step

    def mortal(self, *arguments, **more):
        if self.state.global_step == at_step:
            raise KilledError
        return step(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "training_step", mortal)
    with pytest.raises(KilledError):
        setting("b")
    monkeypatch.undo()
    resumed, outcome = setting("b")
    assert same_weights(undisturbed, resumed)
    assert outcome.resumed_from == at_step // 14 * 14
    assert (setting.path / "a/history.jsonl").read_text().count("\n") == (
        setting.path / "b/history.jsonl"
    ).read_text().count("\n")


def test_a_checkpoint_cut_off_in_the_middle_is_not_trusted(setting):
    undisturbed, _ = setting("a", num_train_epochs=2.0)
    shutil.copytree(setting.path / "a/checkpoints", setting.path / "b/checkpoints")
    newest = max(
        (setting.path / "b/checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
    )
    (newest / COMPLETE).unlink()
    (newest / "model.safetensors").write_bytes(b"torn")
    assert same_weights(undisturbed, setting("b", num_train_epochs=2.0)[0])


class CutError(Exception):
    """Stands for a kill between the last checkpoint and the run's record."""


@pytest.mark.parametrize("later", [0.2, 0.99])
def test_a_run_that_stopped_early_and_was_killed_before_its_end_does_not_train_on(
    setting, monkeypatch, later
):
    """Guards weights of an epoch that an undisturbed run never had: the later score would even be the best."""
    scores = iter([0.9, 0.5, 0.4, *[later] * 9])
    monkeypatch.setattr("compress.training.primary_score", lambda *_: next(scores))
    with monkeypatch.context() as killed:

        def cut(*_):
            raise CutError

        killed.setattr("compress.training._write_history", cut)
        with pytest.raises(CutError):
            setting("a", early_stopping_patience=2)
    model, outcome = setting("a", early_stopping_patience=2)
    assert (outcome.best_step, outcome.steps) == (14, 3 * 14)
    best = load_file(setting.path / "a/checkpoints/checkpoint-14/model.safetensors")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in best.items())


def test_a_checkpoint_cut_off_while_it_was_deleted_is_not_trusted(setting, monkeypatch):
    """Guards resuming without the random state: a kill in the middle of deleting leaves a marker on what is torn."""
    torn = []

    def mortal(path):
        torn.append(path)
        (path / "rng_state.pth").unlink()
        raise CutError

    monkeypatch.setattr("compress.checkpoints.shutil.rmtree", mortal)
    with pytest.raises(CutError):
        setting("a", num_train_epochs=4.0)
    monkeypatch.undo()
    assert torn
    assert not (torn[0] / COMPLETE).exists()
    assert same_weights(setting("b", num_train_epochs=4.0)[0], setting("a", num_train_epochs=4.0)[0])


def test_a_store_that_was_moved_still_knows_its_best_checkpoint(setting, monkeypatch):
    scores = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr("compress.training.primary_score", lambda *_: next(scores))
    with monkeypatch.context() as killed:
        killed.setattr(
            "compress.training.Trainer._load_best_model", lambda self: (_ for _ in ()).throw(CutError())
        )
        with pytest.raises(CutError):
            setting("a", early_stopping_patience=2)
    (setting.path / "a").rename(setting.path / "b")
    model, outcome = setting("b", early_stopping_patience=2)
    assert outcome.best_step == 14
    best = load_file(setting.path / "b/checkpoints/checkpoint-14/model.safetensors")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in best.items())


def test_the_best_weights_are_kept_not_the_last(setting, monkeypatch):
    """Guards a forgotten choice of the best: scores that fall after the first epoch, patience 2."""
    scores = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr("compress.training.primary_score", lambda *_: next(scores))
    model, outcome = setting("a", early_stopping_patience=2)
    assert (outcome.best_step, outcome.steps) == (14, 3 * 14)
    best = load_file(setting.path / "a/checkpoints/checkpoint-14/model.safetensors")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in best.items())
    last = load_file(setting.path / "a/checkpoints/checkpoint-42/model.safetensors")
    assert not all(torch.equal(model.state_dict()[name], tensor) for name, tensor in last.items())


def test_each_term_is_logged_and_the_loss_is_their_sum(setting):
    columns = {"teacher_logits": np.random.default_rng(0).normal(size=(400, 1, 2)).astype(np.float32)}
    terms = (SoftTerm(weight=0.5), HardTerm(weight=2.0))

    def objective(config):
        comparisons = compare_models(terms, student=config, teacher=config)
        return DistillationObjective(comparisons, student=config, teacher=config)

    setting("a", objective=objective, columns=columns)
    lines = [json.loads(line) for line in (setting.path / "a/history.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert len(steps) > 10
    for line in steps:
        assert line["loss"] == pytest.approx(line["soft"] + line["hard"], rel=1e-3, abs=1e-3)


def test_accumulated_batches_move_like_one(setting):
    """Guards the loss of accumulated batches being summed instead of averaged."""
    fixed = {"max_steps": 1, "warmup_steps": 0.0, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    setting("a", **fixed, per_device_train_batch_size=setting.rows)
    setting("b", **fixed, per_device_train_batch_size=setting.rows // 4, gradient_accumulation_steps=4)
    losses = [
        json.loads((setting.path / name / "history.jsonl").read_text().splitlines()[0])["loss"]
        for name in "ab"
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_divergence_is_told(setting):
    class Broken(TaskObjective):
        def forward(self, model, batch):
            judged = super().forward(model, batch)
            return Judgement({"task": Mean(judged.terms["task"].value * float("nan"), 1)}, judged.logits)

    with pytest.raises(CompressError, match="diverged"):
        setting("a", objective=lambda config: Broken(), max_steps=3)


def test_more_tokens_than_positions_are_refused(setting):
    with pytest.raises(InvalidInputError, match="at most 64 tokens, not 65"):
        setting("a", max_length=65)


def test_steps_are_counted_before_anything_runs(setting):
    _, outcome = setting("a", num_train_epochs=1.5, early_stopping_patience=9)
    training = resolve_student(str(setting.path / "students/tiny-albert.toml")).training
    assert outcome.steps == steps_of(
        training.model_copy(update={"num_train_epochs": 1.5}), setting.rows, processes=1
    )


def test_a_budget_of_minutes_ends_in_time_with_the_rate_at_its_end(setting):
    """Three seconds; the few steps that they are enough for are all there is."""
    began = time.monotonic()
    _, outcome = setting("minutes", minutes=0.05, early_stopping_patience=10**6)
    assert 3 <= time.monotonic() - began < 30
    assert outcome.steps > 5
    history = [
        json.loads(line) for line in (setting.path / "minutes" / "history.jsonl").read_text().splitlines()
    ]
    rates = [line["learning_rate"] for line in history if "learning_rate" in line]
    assert max(rates) > 5 * rates[-1]
    assert len([line for line in history if "eval_loss" in line]) > 1


@pytest.mark.parametrize(("bf16", "expected"), [(True, 0), (False, 1)])
def test_no_step_in_bfloat16_takes_the_slow_attention(setting, monkeypatch, bf16, expected):
    """Guards a quarter of a student's time: PyTorch's fused attention has a slow backward pass there."""
    learned, run = set(), torch.nn.functional.scaled_dot_product_attention

    def seen(*arguments, **more):
        learned.add(torch.is_grad_enabled())
        return run(*arguments, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", seen)
    model, _ = setting("run", bf16=bf16, num_train_epochs=1.0)
    assert (True in learned) == bool(expected)
    assert False in learned  # the hold-out
    assert model.config._attn_implementation == "sdpa"
