"""A stage keeps its teacher's states where that pays; its weights are the same each time."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoModel, AutoModelForSequenceClassification, set_seed

from compress import storage
from compress.data.batching import TokenizedSet
from compress.data.sequences import Frame, Sequences, hold_out
from compress.data.task_data import Split, load_task_data
from compress.distillation import answers, state_cache, teaching
from compress.distillation.answers import TaskTeacher, distill_answers
from compress.distillation.augmentation import Augmented
from compress.distillation.kept_states import CachedTeacher
from compress.distillation.learning import learn_texts
from compress.distillation.objective import compare_models
from compress.distillation.pool import pool_texts
from compress.distillation.teachers import FrozenTeacher
from compress.distillation.teaching import prepare_lesson
from compress.encoder import Encoder, load_config
from compress.errors import CompressError
from compress.inference import load
from compress.recipes.resolve import resolve_student
from compress.recipes.stages import Distill, Intermediate
from compress.recipes.terms import AttentionTerm, HardTerm, HiddenTerm, RelationTerm, SoftTerm
from compress.recipes.values import Training
from compress.tasks import resolve_task
from compress.training import Place, Pupil
from tests.conftest import tiny_config, write_task

TERMS = (HiddenTerm(), AttentionTerm())


@pytest.fixture
def source(tmp_path, tokenizer):
    set_seed(0)
    config = tiny_config(
        "bert", tokenizer, num_labels=2, id2label={0: "bad", 1: "good"}, initializer_range=0.3
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def lesson(tmp_path, tokenizer, tiny_model, source):
    """Prepare a lesson of 12 texts; a schedule of 3 epochs, where nothing else is said."""
    lines = [" ".join(["the", *["very"] * number, "film"]) for number in range(12)]
    tokens = dict(tokenizer(lines))
    learned, held = (
        TokenizedSet({name: ids[begin:end] for name, ids in tokens.items()}, {})
        for begin, end in ((0, 10), (10, 12))
    )

    def prepare(*, masked_lm=False, terms=TERMS, order=None, **schedule):
        student = tiny_model("albert").config
        return prepare_lesson(
            source,
            compare_models(terms, student=student, teacher=load_config(source)),
            learned,
            held,
            tokenizer=tokenizer,
            training=Training(**{"bf16": False, "num_train_epochs": 3.0, **schedule}),
            masked_lm=masked_lm,
            store=tmp_path / "runs",
            order=order,
        )

    return prepare


def test_states_that_are_read_again_are_kept(lesson, caplog):
    caplog.set_level(logging.INFO)
    prepared = lesson()
    assert isinstance(prepared.teach, CachedTeacher)
    assert prepared.facts == {"teacher_states": "cached"}
    assert "states are cached (" in caplog.text
    assert "each is read 3 times" in caplog.text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_train_epochs": 1.9}, "1.9 passes"),
        ({"max_steps": 3, "per_device_train_batch_size": 6}, "1.8 passes"),
        ({"max_steps": 3, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}, "1.8 passes"),
    ],
)
def test_the_teacher_runs_beside_where_nothing_is_gained(lesson, caplog, options, reason):
    caplog.set_level(logging.INFO)
    prepared = lesson(**options)
    assert isinstance(prepared.teach, FrozenTeacher)
    assert prepared.facts == {"teacher_states": "online"}
    assert f"the teacher runs beside the student: {reason}" in caplog.text


@pytest.mark.parametrize(
    ("terms", "schedule", "there"),
    [
        ((SoftTerm(), HiddenTerm()), {"num_train_epochs": 1.0}, True),
        ((SoftTerm(), RelationTerm(of="value")), {"num_train_epochs": 1.0}, True),
        ((SoftTerm(), HiddenTerm(map=((1, 1),))), {"num_train_epochs": 1.0}, False),
        ((SoftTerm(), HiddenTerm()), {"num_train_epochs": 3.0}, False),
    ],
    ids=["top", "top by relations", "lower layers only", "states are kept"],
)
def test_who_runs_to_the_top_beside_answers_there(lesson, source, tokenizer, terms, schedule, there):
    prepared = lesson(terms=terms, order=[1, 0], **schedule)
    assert prepared.answers is there
    if there:
        texts = ["the very film", "the film"]
        batch = dict(tokenizer(texts, padding=True, return_tensors="pt"))
        expected, _ = load(source).logits(texts)
        assert np.abs(prepared.teach(batch).logits.numpy() - expected[:, [1, 0]]).max() < 1e-5
    assert lesson(terms=terms, order=None, **schedule).answers is False


def test_steps_count_as_the_passes_that_they_are(lesson):
    assert lesson(max_steps=2, per_device_train_batch_size=10).states == "cached"
    assert (
        lesson(max_steps=4, per_device_train_batch_size=2, gradient_accumulation_steps=3).states == "cached"
    )


def test_hidden_words_differ_each_epoch(lesson, source, tokenizer, tmp_path, monkeypatch):
    """Guards states of a text in which other words were hidden."""
    monkeypatch.setattr(teaching, "load_teacher", lambda *_, head, bf16, order: ("a teacher", head))
    prepared = lesson(masked_lm=True)
    assert (prepared.teach, prepared.states) == (("a teacher", "masked_lm"), "online")


def test_a_model_whose_sizes_are_not_known_runs_beside(lesson, monkeypatch, caplog):
    """Guards MobileBERT, whose queries are narrower than its hidden states."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(teaching, "KNOWN", frozenset())
    assert lesson().states == "online"
    assert "a model of type 'bert' are not known" in caplog.text


def test_texts_padded_on_the_left_are_not_kept(lesson, tokenizer, monkeypatch, caplog):
    """Guards states of a token that stood elsewhere: positions count from the edge of the batch."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tokenizer, "padding_side", "left")
    assert lesson().states == "online"
    assert "pads on the left" in caplog.text


def test_states_that_are_too_large_are_not_kept(lesson, monkeypatch, caplog):
    """10 and 2 texts of 4 to 15 tokens: 3 layers of 24 numbers a token, 2 of 3 heads a pair of tokens."""
    caplog.set_level(logging.INFO)
    lengths = np.arange(4, 16)
    needed = 4 * int(3 * 24 * lengths.sum() + 2 * 3 * (lengths**2).sum())
    monkeypatch.setattr(teaching, "MOST_BYTES", needed - 1)
    assert lesson().states == "online"
    assert "its states would take 0.1 MB" in caplog.text
    monkeypatch.setattr(teaching, "MOST_BYTES", needed)
    assert lesson().states == "cached"


def test_a_teacher_whom_no_term_asks_is_not_loaded(lesson, monkeypatch):
    monkeypatch.setattr(teaching, "load_teacher", None)
    prepared = lesson(terms=(SoftTerm(), HardTerm()))
    assert (prepared.teach, prepared.facts) == (None, {})


def test_a_disk_without_room_for_the_states_is_refused(lesson, monkeypatch):
    """Guards weights that depend on how full the disk is: the two ways agree to rounding only."""
    free = 60_000
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(CompressError, match=r"0\.1 MB .* and 0\.1 MB are free") as caught:
        lesson()
    assert "--runs DIR" in caught.value.fix
    free = 1 << 20
    assert lesson().states == "cached"
    free = 1000  # what lies in the cache already needs no room
    assert lesson().states == "cached"


def test_a_corpus_is_one_pool_whatever_is_held_out():
    draw = np.random.default_rng(0)
    lengths = draw.integers(8, 20, size=30)
    ids = draw.integers(5, 30, size=lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    frame = Frame((2,), (3,), ("input_ids", "attention_mask"))
    corpus = Sequences(ids, offsets, np.arange(30), frame=frame)
    pools = [pool_texts(*hold_out(corpus, seed=seed, share=0.3)) for seed in (0, 1)]
    assert pools[0].fingerprint == pools[1].fingerprint
    assert not np.array_equal(pools[0].places[1], pools[1].places[1])
    for pool in pools:
        for examples, places in zip(pool.sets, pool.places, strict=True):
            for row, place in enumerate(places):
                assert pool.fetch(range(place, place + 1)).tokens == examples[row].tokens


@pytest.fixture
def stage_of(tmp_path, tokenizer, source):
    """Run a stage of 120 steps in a place of its own; its student's weights and facts."""
    data = load_task_data(resolve_task(str(write_task(tmp_path, train=53, validation=10))))
    rows = np.arange(len(data.train))
    plain = Augmented(data.train, rows)
    more = Split(
        "train",
        [*data.train.texts, *(f"the {text}" for text in data.train.texts)],
        np.tile(data.train.labels, 2),
    )
    whole = Augmented(more, np.tile(rows, 2))
    training = Training(
        learning_rate=1e-3, num_train_epochs=20, per_device_train_batch_size=8, max_length=32, bf16=False
    )
    recipe = resolve_student("albert-tiny")

    def run(kind, name, *, seed=3, copies=False, reads=None, select_on="holdout", **changes):
        texts = whole if copies else plain
        set_seed(1)
        config = tiny_config("albert", tokenizer, num_labels=2, hidden_dropout_prob=0.1)
        place = Place(tmp_path / "runs", tmp_path / name, tmp_path / name / "checkpoints")
        options = {"student": recipe, "budget": "small", "training": training.model_copy(update=changes)}
        if kind == "intermediate":
            student = Encoder(AutoModel.from_config(config), tokenizer)
            stage = Intermediate(method="tinybert", terms=TERMS, **options)
            facts = learn_texts(Pupil(student, seed, place), source, stage, data, texts)
        else:
            student = Encoder(AutoModelForSequenceClassification.from_config(config), tokenizer)
            terms = (SoftTerm(), RelationTerm(of="value"))
            stage = Distill(
                method="minilm", terms=terms, allow_weak_teacher=True, select_on=select_on, **options
            )
            teachers = [TaskTeacher(load(source), source, 3)]
            teachers[0].predictor.max_length = reads or teachers[0].predictor.max_length
            facts = distill_answers(Pupil(student, seed, place), teachers, data, texts, stage)
        return {name: each.clone() for name, each in student.model.state_dict().items()}, facts

    return run


def largest_difference(ours, theirs):
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


@pytest.mark.parametrize("select_on", ["holdout", "validation"])
def test_a_student_learns_the_same_from_answers_given_beside_it(stage_of, select_on, monkeypatch):
    """Guards answers to other texts, and a teacher that is asked for all of them though it runs beside."""
    split_sizes = []
    ask = answers.cached_logits

    def counted(teacher, source, split, *, store):
        split_sizes.append(len(split))
        return ask(teacher, source, split, store=store)

    monkeypatch.setattr(answers, "cached_logits", counted)
    monkeypatch.setattr(teaching, "FEWEST_PASSES", 99)
    once = {"num_train_epochs": 2.0, "select_on": select_on, "copies": True}
    beside, facts = stage_of("distill", "beside", reads=32, **once)
    assert max(split_sizes) < 10  # the gate's hold-out
    assert (facts["teacher_states"], facts["teacher_seconds"]) == ("online", 0.0)
    before, facts = stage_of("distill", "before", **once)
    assert max(split_sizes) == 106
    assert facts["teacher_seconds"] > 0
    assert 0 < largest_difference(beside, before) < 1e-4


@pytest.mark.parametrize("kind", ["intermediate", "distill"])
def test_a_student_learns_the_same_from_states_that_were_kept(stage_of, kind, monkeypatch):
    """Over a few steps: after many, last digits have grown."""
    cached, facts = stage_of(kind, "cached", num_train_epochs=2.0)
    assert facts["teacher_states"] == "cached"
    again, _ = stage_of(kind, "again", num_train_epochs=2.0)
    assert largest_difference(cached, again) == 0
    monkeypatch.setattr(teaching, "FEWEST_PASSES", 99)
    online, facts = stage_of(kind, "online", num_train_epochs=2.0)
    assert facts["teacher_states"] == "online"
    assert largest_difference(cached, online) < 1e-4
    longer, _ = stage_of(kind, "longer", num_train_epochs=3.0)
    assert largest_difference(cached, longer) > 1e-3


def test_a_run_that_was_cut_off_ends_in_the_weights_of_one_that_was_not(stage_of, monkeypatch, tmp_path):
    undisturbed, facts = stage_of("intermediate", "undisturbed")
    assert facts["steps"] == 120
    read, calls = CachedTeacher.__call__, 0

    def mortal(self, batch):
        nonlocal calls
        calls += 1
        if calls == 115:
            raise KeyboardInterrupt
        return read(self, batch)

    monkeypatch.setattr(CachedTeacher, "__call__", mortal)
    with pytest.raises(KeyboardInterrupt):
        stage_of("intermediate", "disturbed")
    monkeypatch.setattr(CachedTeacher, "__call__", read)
    resumed, facts = stage_of("intermediate", "disturbed")
    assert facts["resumed_from_step"] == 100
    assert facts["teacher_states"] == "cached"
    assert largest_difference(undisturbed, resumed) == 0


def test_another_seed_asks_nobody_although_it_holds_out_other_rows_and_their_copies(stage_of, monkeypatch):
    """Guards gigabytes a seed: copies of the hold-out are not learned, and lie in the cache all the same."""
    stage_of("intermediate", "first", copies=True, num_train_epochs=2.0)
    monkeypatch.setattr(state_cache, "load_teacher", None)
    _, facts = stage_of("intermediate", "second", copies=True, seed=4, num_train_epochs=2.0)
    assert facts["teacher_states"] == "cached"


def test_a_second_student_asks_nobody(stage_of, monkeypatch):
    stage_of("intermediate", "first", num_train_epochs=2.0)
    monkeypatch.setattr(state_cache, "load_teacher", None)
    _, facts = stage_of("intermediate", "second", num_train_epochs=4.0, learning_rate=1e-4)
    assert facts["teacher_states"] == "cached"
