"""Stages that learn a teacher's layers and answers: what moves, what is kept, and that a kill changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, set_seed

from compress import training
from compress.data.corpus import resolve_corpus
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import hold_out, tokenize_corpus
from compress.data.task_data import Split, TaskData, hold_out_rows, load_task_data
from compress.distillation.answers import TaskTeacher, distill_answers
from compress.distillation.augmentation import Augmented
from compress.distillation.learning import learn_texts
from compress.distillation.objective import DistillationObjective, compare_models
from compress.distillation.states import distill_general
from compress.encoder import build_classifier, load_config
from compress.heads import build_bare
from compress.inference import load
from compress.recipes.methods import Masking
from compress.recipes.resolve import resolve_student
from compress.recipes.stages import Distill, General, Intermediate
from compress.recipes.terms import (
    AttentionTerm,
    CosineTerm,
    HiddenTerm,
    MaskedLmTerm,
    RelationTerm,
    SoftTerm,
)
from compress.recipes.values import Training
from compress.tasks import resolve_task
from compress.trainer import OBJECTIVE_FILE, Trainer
from compress.training import Place, Pupil
from tests.conftest import STUDENT, tiny_config

STRIDE = 4
SCHEDULE = Training(
    learning_rate=1e-3, num_train_epochs=2, per_device_train_batch_size=8, max_length=24, bf16=False
)
STATES = (HiddenTerm(), AttentionTerm(weight=0.1))
TRIPLE = (SoftTerm(weight=5.0, temperature=2.0), MaskedLmTerm(weight=2.0), CosineTerm())
RELATIONS = (RelationTerm(of="query"), RelationTerm(of="key"), RelationTerm(of="value"))
KINDS = ("general", "relations", "masked", "intermediate", "distill")


@pytest.fixture
def house(tmp_path, task_file, corpus_folder, tokenizer):
    """A teacher with an MLM head and one that knows the task; a student with dropout and another width; texts."""
    set_seed(0)
    shape = {"num_hidden_layers": 4, "initializer_range": 0.3}
    AutoModelForMaskedLM.from_config(tiny_config("bert", tokenizer, **shape)).save_pretrained(
        tmp_path / "bert"
    )
    named = tiny_config("bert", tokenizer, id2label={0: "bad", 1: "good"}, **shape)
    AutoModelForSequenceClassification.from_config(named).save_pretrained(tmp_path / "classifier")
    for name in ("bert", "classifier"):
        tokenizer.save_pretrained(tmp_path / name)
    (tmp_path / "thin.toml").write_text(
        STUDENT.replace("hidden_size = 32", "hidden_size = 36")
        .replace("num_attention_heads = 2", "num_attention_heads = 3")
        .replace("hidden_dropout_prob = 0.0", "hidden_dropout_prob = 0.1")
    )
    return tmp_path


@pytest.fixture
def run(house, tokenizer, monkeypatch):
    """Carry out a stage of a kind in a folder; gives the student, its facts and the folder."""
    monkeypatch.setattr(training, "STEPS_BETWEEN_LOOKS", STRIDE)
    recipe = resolve_student(str(house / "thin.toml"))
    whole = load_task_data(resolve_task(str(house / "reviews.toml")))
    usual = TaskData(whole.task, whole.train.select(range(60), name="train"), whole.validation)
    named = {"student": recipe, "method": "tinybert", "budget": "small"}

    def run(kind, folder, *, seed=3, enlarged=None, **changes):
        data, texts = usual, Augmented(usual.train, np.arange(len(usual.train)))
        if enlarged:  # the originals come first
            texts, rows = enlarged, np.unique(enlarged.origin)
            data = TaskData(usual.task, texts.split.select(rows, name="train"), usual.validation)
        place = Place(house / "runs", house / folder, house / folder / "checkpoints")
        schedule = SCHEDULE.model_copy(update=changes)
        if kind in ("general", "relations", "masked"):
            terms = {"general": STATES, "relations": RELATIONS, "masked": TRIPLE}[kind]
            masking = Masking(smoothing=0.7) if kind == "masked" else None
            stage = General(**named, terms=terms, masking=masking, training=schedule)
            student = build_bare(recipe, tokenizer, seed=seed, masked_lm=masking is not None)
            corpus = resolve_corpus(str(house / "corpus"))
            facts = distill_general(Pupil(student, seed, place), house / "bert", corpus, stage)
        elif kind == "intermediate":
            stage = Intermediate(**named, terms=STATES, training=schedule)
            student = build_bare(recipe, tokenizer, seed=seed)
            pupil = Pupil(student, seed, place)
            facts = learn_texts(pupil, house / "classifier", stage, data, texts)
        else:
            terms = (SoftTerm(), HiddenTerm(weight=0.1))
            stage = Distill(**named, terms=terms, training=schedule, allow_weak_teacher=True)
            student = build_classifier(recipe, tokenizer, data.task, seed=seed)
            teacher = TaskTeacher(load(house / "classifier"), house / "classifier", seed=seed)
            facts = distill_answers(Pupil(student, seed, place), [teacher], data, texts, stage)
        return student.model, facts, house / folder

    return run


def newest(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """A file of a run's newest checkpoint."""
    found = max((folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return load_file(found / name)


def same(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


class KilledError(Exception):
    """Stands for a SIGKILL: nothing of ours runs after it."""


@pytest.mark.parametrize("at_step", [2, 6, 11])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_started_again_ends_in_the_undisturbed_weights(run, monkeypatch, kind, at_step):
    """In the middle of an epoch, too: dropout, batches, masks, moments and projections go on where they were."""
    undisturbed, facts, folder = run(kind, "undisturbed")
    assert facts["steps"] > 11
    step = Trainer.training_step

    def mortal(self, *arguments, **more):
        if self.state.global_step == at_step:
            raise KilledError
        return step(self, *arguments, **more)

    with monkeypatch.context() as killed:
        killed.setattr(Trainer, "training_step", mortal)
        with pytest.raises(KilledError):
            run(kind, "killed")
    resumed, again, other = run(kind, "killed")
    if kind != "distill":  # that one leaves a checkpoint an epoch
        assert again["resumed_from_step"] == at_step // STRIDE * STRIDE
    assert same(undisturbed.state_dict(), resumed.state_dict())
    assert (again["best_step"], again["steps"]) == (facts["best_step"], facts["steps"])
    if kind != "relations":
        assert same(newest(folder, OBJECTIVE_FILE), newest(other, OBJECTIVE_FILE))


def test_masks_are_drawn_anew_each_epoch_but_the_hold_out_s(run, monkeypatch):
    """Guards a collator that is never told: a resumed run would then agree with an undisturbed one, too.

    The hold-out's losses are compared over epochs, so its masks stay.
    """
    collators, epochs = [], {}
    call = MaskingCollator.__call__

    def note(self, rows):
        collators.append(self)  # so that no id is used twice
        epochs.setdefault(id(self), []).append(self.epoch)
        return call(self, rows)

    monkeypatch.setattr(MaskingCollator, "__call__", note)
    run("masked", "a", num_train_epochs=3)
    learned, *held = epochs.values()
    assert learned == sorted(learned)
    assert set(learned) == {0, 1, 2}
    assert len(held) > 3  # looks
    assert {epoch for look in held for epoch in look} == {0}


def test_a_run_is_repeatable_and_depends_on_its_seed(run):
    weights = [
        run("masked", folder, seed=seed, max_steps=3)[0].state_dict()
        for folder, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert same(weights[0], weights[1])
    assert not same(weights[0], weights[2])


def test_projections_learn_and_lie_in_the_checkpoint(run, house):
    """Guards projections that the optimizer never saw."""
    model, _, folder = run("general", "a")
    learned = newest(folder, OBJECTIVE_FILE)
    shapes = {"student": model.config, "teacher": load_config(house / "bert")}
    start = DistillationObjective(compare_models(STATES, **shapes), **shapes, seed=3).state_dict()
    assert (
        learned.keys()
        == start.keys()
        == {f"projections.{name}.{part}" for name in ("embeddings", "layers") for part in ("weight", "bias")}
    )
    assert all((learned[name] - start[name]).abs().max() > 1e-4 for name in start)


def test_without_projections_there_is_no_such_file(run):
    _, _, folder = run("relations", "a", max_steps=2)
    assert not list(folder.rglob(OBJECTIVE_FILE))


@pytest.mark.parametrize("kind", KINDS)
def test_each_term_is_in_the_history_and_the_loss_is_their_sum(run, kind):
    names = {
        "general": {"hidden", "attention"},
        "relations": {"query_relations", "key_relations", "value_relations"},
        "masked": {"soft", "masked_lm", "cosine"},
        "intermediate": {"hidden", "attention"},
        "distill": {"soft", "hidden"},
    }[kind]
    _, facts, folder = run(kind, "a", max_steps=5)
    assert set(facts["terms"]) == names
    steps = [line for line in lines_of(folder) if "loss" in line]
    assert len(steps) == 5
    for line in steps:
        assert names <= line.keys()
        assert line["loss"] == pytest.approx(sum(line[name] for name in names), rel=1e-3, abs=1e-3)


def test_the_hold_out_s_loss_falls_and_the_best_weights_are_kept(run):
    _, facts, folder = run("general", "a", num_train_epochs=6)
    looks = {line["step"]: line["eval_loss"] for line in lines_of(folder) if "eval_loss" in line}
    assert list(looks) == [*range(STRIDE, facts["steps"], STRIDE), facts["steps"]]
    assert facts["holdout_loss"] == pytest.approx(min(looks.values()))
    assert looks[facts["best_step"]] == min(looks.values())
    assert looks[facts["steps"]] < 0.9 * looks[STRIDE]
    assert "holdout_score" not in facts


def test_sequences_of_the_hold_out_are_not_learned(run, house, tokenizer):
    _, facts, _ = run("general", "a", max_steps=1)
    sequences = tokenize_corpus(
        resolve_corpus(str(house / "corpus")), tokenizer, max_length=24, store=house / "runs"
    )
    rest, held = hold_out(sequences, seed=3)
    assert facts["corpus_sequences"] == len(rest) + len(held)
    assert facts["corpus_tokens"] == sequences.lengths.sum()
    assert not set(rest.rows) & set(held.rows)


def test_copies_of_the_hold_out_s_rows_are_not_learned(run, monkeypatch):
    """Guards a hold-out that was learned in other words: each text is there twice."""
    held = {int(row) for row in hold_out_rows(20, seed=3)[1]}
    words = [" ".join(["film"] * (row + 1)) for row in range(20)]
    texts = Split("train", [*words, *words], np.zeros(40, dtype=np.int64))
    seen = {}

    def note(student, teacher, stage, *, examples, holdout, **_):
        for name, part in (("learned", examples), ("held", holdout)):
            tokens = part.__getitems__(list(range(len(part)))).tokens["input_ids"]
            seen[name] = [len(ids) - 3 for ids in tokens]  # the row's number, by its words
        return {}

    monkeypatch.setattr("compress.distillation.learning.learn", note)
    for kind in ("intermediate", "distill"):
        seen.clear()
        run(kind, kind, enlarged=Augmented(texts, np.array([*range(20), *range(20)])))
        assert sorted(seen["held"]) == sorted(held)
        assert sorted(seen["learned"]) == sorted(2 * [row for row in range(20) if row not in held])


def test_the_usual_attention_is_back_and_nothing_of_ours_is_saved(run, house):
    model, _, folder = run("general", "a", max_steps=2)
    assert model.config._attn_implementation == "sdpa"
    model.save_pretrained(folder / "made")
    assert "compress" not in (folder / "made" / "config.json").read_text()
    for config in (folder / "checkpoints").rglob("config.json"):
        assert "compress" not in config.read_text()
