"""Copies are made once, kept whole, and made again where anything that decides them has changed."""

import numpy as np
import pytest
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, set_seed

from compress.data.task_data import Split
from compress.distillation import augmentation
from compress.distillation.augmentation import augmented
from compress.errors import InvalidInputError
from compress.inference import load
from compress.recipes.methods import Augmentation
from compress.runs import AUGMENTATION_CACHE
from tests.conftest import BAD, FILLER, GOOD, tiny_config

ROWS = 40
COPIES = 6
SHARDS = 3


@pytest.fixture
def train():
    draw = np.random.default_rng(0)
    words = [draw.choice((*GOOD, *BAD, *FILLER), size=draw.integers(4, 12)) for _ in range(ROWS)]
    return Split("train", [" ".join(line) for line in words], np.arange(ROWS) % 2)


@pytest.fixture
def pairs(train):
    return Split("train", list(zip(train.texts, train.texts[::-1], strict=True)), np.linspace(0, 5, ROWS))


@pytest.fixture
def source(tmp_path, tokenizer):
    """The directory of a tiny MLM."""
    set_seed(0)
    folder = tmp_path / "source"
    config = tiny_config("bert", tokenizer, initializer_range=0.5)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def judge(tmp_path, tokenizer):
    """Labels → the directory of a tiny fine-tuned teacher."""

    def build(**changes):
        set_seed(1)
        folder = tmp_path / "teacher"
        config = tiny_config("bert", tokenizer, initializer_range=0.3, **changes)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.fixture
def made(monkeypatch, tmp_path, source):
    """Augment a split, in shards of 16 rows; gives the result and for how many texts candidates were sought."""
    monkeypatch.setattr(augmentation, "SHARD_ROWS", 16)
    sought = 0
    load_candidates = augmentation.load_candidates

    def counting(path, **options):
        found = load_candidates(path, **options)
        find = found.find

        def count(texts, words):
            nonlocal sought
            sought += len(texts)
            return find(texts, words)

        found.find = count
        return found

    monkeypatch.setattr(augmentation, "load_candidates", counting)

    def make(split, *, copies=COPIES, seed=0, teacher=None, passes=3, **recipe):
        nonlocal sought
        sought = 0
        result = augmented(
            split,
            Augmentation(**recipe),
            copies=copies,
            source=source,
            seed=seed,
            store=tmp_path / "runs",
            teacher=load(teacher) if teacher else None,
            teacher_source=teacher,
            passes=passes,
        )
        return result, sought

    return make


def files(tmp_path, pattern):
    return sorted((tmp_path / "runs" / AUGMENTATION_CACHE).glob(pattern))


def test_originals_come_first_and_copies_know_whence_they_are(made, train):
    result, _ = made(train)
    assert result.split.texts[:ROWS] == train.texts
    assert result.origin[:ROWS].tolist() == list(range(ROWS))
    assert len(result.split) > ROWS * (COPIES - 1)
    assert set(result.origin[ROWS:]) == set(range(ROWS))
    np.testing.assert_array_equal(result.split.labels, train.labels[result.origin])
    for text, row in zip(result.split.texts, result.origin, strict=True):
        assert len(text.split()) == len(train.texts[row].split())
    copies = result.split.texts[ROWS:]
    assert len(set(copies)) == len(copies)
    assert not set(copies) & set(train.texts)
    assert result.split.name == "train"


def test_pairs_keep_one_side(made, pairs):
    result, _ = made(pairs)
    assert result.split.texts[:ROWS] == pairs.texts
    changed = []
    for (left, right), row in zip(result.split.texts[ROWS:], result.origin[ROWS:], strict=True):
        one, other = pairs.texts[row]
        assert (left == one) != (right == other)
        changed.append(left != one)
    assert 0.4 < np.mean(changed) < 0.6
    assert len(changed) > ROWS * COPIES * 1.5
    np.testing.assert_array_equal(result.split.labels, pairs.labels[result.origin])


def test_a_second_time_nothing_is_computed_and_the_result_is_the_same(made, train, monkeypatch):
    first, sought = made(train)
    assert sought == ROWS
    second, sought = made(train)
    assert sought == 0
    assert second.split.fingerprint == first.split.fingerprint
    assert second.split.texts == first.split.texts
    np.testing.assert_array_equal(second.origin, first.origin)


def test_the_cache_of_pairs_gives_pairs(made, pairs):
    first, _ = made(pairs)
    second, sought = made(pairs)
    assert sought == 0
    assert second.split.texts == first.split.texts
    assert isinstance(second.split.texts[-1], tuple)


def test_shards_change_nothing(made, train, monkeypatch, tmp_path):
    """A row's copies depend on its number, not on what lies beside it."""
    small, _ = made(train)
    assert len(files(tmp_path, "*/*.parquet")) == SHARDS
    monkeypatch.setattr(augmentation, "SHARD_ROWS", 1000)
    large, sought = made(train)
    assert sought == ROWS
    assert large.split.texts == small.split.texts


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"copies": COPIES + 1},
        {"replace_probability": 0.8},
        {"candidates": 3},
        {"passes": None},
    ],
)
def test_what_decides_the_copies_misses(made, train, change):
    before, _ = made(train)
    after, sought = made(train, **change)
    assert sought == ROWS
    assert after.split.texts != before.split.texts


@pytest.mark.parametrize("change", ["model.safetensors", "tokenizer.json"])
def test_a_changed_byte_of_the_source_misses(made, train, source, change):
    made(train)
    content = bytearray((source / change).read_bytes())
    if change.endswith(".json"):
        content += b" "
    else:
        content[-1] ^= 1
    (source / change).write_bytes(bytes(content))
    assert made(train)[1] == ROWS


def test_a_changed_text_misses(made, train):
    made(train)
    changed = Split("train", [*train.texts[:-1], train.texts[-1] + " ."], train.labels)
    assert made(changed)[1] == ROWS


@pytest.mark.parametrize("damage", ["one byte", "truncated", "gone", "no record"])
def test_a_damaged_shard_alone_is_made_again_to_the_same_bytes(made, train, tmp_path, damage):
    before, _ = made(train)
    shard, record = files(tmp_path, "*/copies-00001.parquet")[0], files(tmp_path, "*/copies-00001.json")[0]
    whole = shard.read_bytes()
    if damage == "one byte":
        shard.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    elif damage == "truncated":
        shard.write_bytes(whole[:-8])
    elif damage == "gone":
        shard.unlink()
    else:
        record.unlink()
    after, sought = made(train)
    assert sought == 16
    assert after.split.texts == before.split.texts
    assert shard.read_bytes() == whole


def test_a_build_that_was_cut_off_goes_on(made, train, monkeypatch):
    write, written = augmentation._write_shard, []

    def mortal(file, table):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(file)
        write(file, table)

    monkeypatch.setattr(augmentation, "_write_shard", mortal)
    with pytest.raises(KeyboardInterrupt):
        made(train)
    monkeypatch.setattr(augmentation, "_write_shard", write)
    assert made(train)[1] == ROWS - 2 * 16


def test_no_copies_is_the_split_itself(made, train, tmp_path):
    result, sought = made(train, copies=0)
    assert sought == 0
    assert result.split is train
    assert result.origin.tolist() == list(range(ROWS))
    assert result.facts == {}
    assert not (tmp_path / "runs").exists()


def test_the_filter_keeps_what_the_teacher_is_sure_of(made, train, judge):
    """Against the teacher asked directly, copy by copy; originals stay, sure or not."""
    teacher = judge()
    unfiltered, _ = made(train)
    scores = np.array([each.score for each in load(teacher).predict(unfiltered.split.texts)])
    threshold = float(np.median(scores))
    assert (scores[:ROWS] < threshold).any()
    kept = np.arange(len(scores)) < ROWS
    kept |= scores >= threshold
    result, _ = made(train, teacher=teacher, min_confidence=threshold)
    sure = np.abs(scores - threshold) > 1e-5  # batches differ, and so do last digits
    expected = [
        text for text, keep, clear in zip(unfiltered.split.texts, kept, sure, strict=True) if keep and clear
    ]
    unclear = {text for text, clear in zip(unfiltered.split.texts, sure, strict=True) if not clear}
    assert [text for text in result.split.texts if text not in unclear] == [
        text for text in expected if text not in unclear
    ]
    assert result.split.texts[:ROWS] == train.texts
    np.testing.assert_array_equal(result.split.labels, train.labels[result.origin])
    assert result.unconfident > ROWS
    assert len(result.split) + result.unconfident + result.duplicates == ROWS + ROWS * COPIES


def test_another_threshold_asks_nobody_again_and_another_teacher_is_asked(made, train, judge):
    teacher = judge()
    strict, _ = made(train, teacher=teacher, min_confidence=0.9)
    lax, sought = made(train, teacher=teacher, min_confidence=0.5)
    assert sought == 0
    assert len(lax.split) > len(strict.split) >= ROWS
    assert lax.unconfident == 0  # of two classes one always has a half
    content = bytearray((teacher / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (teacher / "model.safetensors").write_bytes(bytes(content))
    assert made(train, teacher=teacher, min_confidence=0.5)[1] == ROWS


def test_a_teacher_is_not_asked_without_a_threshold(made, train, judge):
    made(train)
    assert made(train, teacher=judge())[1] == 0


def test_a_filter_needs_a_classifier(made, train, judge):
    with pytest.raises(InvalidInputError, match="there is no teacher"):
        made(train, min_confidence=0.9)
    regression = judge(num_labels=1, problem_type="regression")
    with pytest.raises(InvalidInputError, match="regression"):
        made(train, teacher=regression, min_confidence=0.9)


def test_facts_say_what_was_made_and_what_was_dropped(made, train, source):
    train = train.select([*range(ROWS), 0], name="train")
    result, _ = made(train)
    facts = result.facts
    assert facts["augmentation_candidates"] == "masked-lm"
    assert facts["augmented_copies"] == len(result.split) - len(train)
    assert facts["augmented_copies"] + facts["augmentation_duplicates"] == len(train) * COPIES
    assert facts["augmentation_unconfident"] == 0
    assert facts["augmentation_per_second"] > 0
    again = made(train)[0].facts
    assert again["augmentation_per_second"] is None
    same = ("augmented_copies", "augmentation_candidates", "augmentation_duplicates")
    assert [again[name] for name in same] == [facts[name] for name in same]


def test_a_model_without_a_head_gives_neighbours_and_facts_say_so(teacher_directory, train, tmp_path):
    result = augmented(
        train, Augmentation(), copies=COPIES, source=teacher_directory, seed=0, store=tmp_path / "runs"
    )
    assert result.facts["augmentation_candidates"] == "embeddings"
    assert len(result.split) > ROWS * (COPIES - 1)
