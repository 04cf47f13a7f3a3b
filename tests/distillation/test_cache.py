"""The teacher is asked once; whatever would change its answer asks again; damage is found."""

import threading

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification, set_seed

from compress.data.task_data import Split
from compress.distillation import cache
from compress.distillation.cache import cached_logits
from compress.inference import load
from compress.runs import RUN_FILE, TEACHER_CACHE
from tests.conftest import FILLER, tiny_config

ROWS = 40


@pytest.fixture
def texts():
    draw = np.random.default_rng(0)
    words = [list(draw.choice(FILLER, size=draw.integers(2, 20))) for _ in range(ROWS)]
    return Split("train", [" ".join(line) for line in words], np.zeros(ROWS, dtype=np.int64))


@pytest.fixture
def source(tmp_path, tokenizer):
    set_seed(0)
    model = AutoModelForSequenceClassification.from_config(
        tiny_config("bert", tokenizer, num_labels=3, initializer_range=0.5)
    )
    model.save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def asked(monkeypatch, tmp_path, source):
    """Get the logits of texts, in shards of 16; gives them and how many texts the teacher had to answer."""
    monkeypatch.setattr(cache, "SHARD_ROWS", 16)

    def ask(split, prepare=lambda teacher: None):
        teacher = load(source)
        prepare(teacher)
        answered = 0
        run = teacher.engine.run

        def counting(inputs):
            nonlocal answered
            answered += len(inputs["input_ids"])
            return run(inputs)

        teacher.engine.run = counting
        return cached_logits(teacher, source, split, store=tmp_path / "runs"), answered

    return ask


def files(tmp_path, pattern):
    return sorted((tmp_path / "runs" / TEACHER_CACHE).glob(pattern))


def test_it_holds_what_the_teacher_says(asked, texts, source):
    answers, answered = asked(texts)
    assert answered == len(answers) == ROWS
    direct, _ = load(source).logits(texts.texts)
    np.testing.assert_allclose(answers[range(ROWS)], direct, atol=1e-4)
    np.testing.assert_allclose(answers[[39, 0, 16, 15, 0]], direct[[39, 0, 16, 15, 0]], atol=1e-4)
    assert np.abs(direct[0] - direct[1]).max() > 1e-3  # rows that were mixed up would show


def test_a_second_time_nobody_is_asked_and_the_file_is_mapped(asked, texts):
    first, _ = asked(texts)
    second, answered = asked(texts)
    assert answered == 0
    assert [len(shard) for shard in second.shards] == [16, 16, 8]
    assert all(isinstance(shard, np.memmap) for shard in second.shards)
    np.testing.assert_array_equal(first[range(ROWS)], second[range(ROWS)])


@pytest.mark.parametrize(
    "change", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_changed_byte_of_the_teacher_misses(asked, texts, source, change):
    asked(texts)
    file = source / change
    content = bytearray(file.read_bytes())
    if file.suffix == ".json":
        content += b" "  # nothing but a blank: the bytes differ, the meaning does not
    else:
        content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert asked(texts)[1] == ROWS


def test_a_teacher_that_was_redone_to_the_same_weights_is_not_asked_again(asked, texts, source):
    """Guards answers thrown away because a run's record holds when it was made."""
    (source / RUN_FILE).write_text("{}")
    asked(texts)
    (source / RUN_FILE).write_text('{"started": "later"}')
    assert asked(texts)[1] == 0


def test_a_changed_text_misses(asked, texts):
    asked(texts)
    changed = Split("train", [*texts.texts[:-1], texts.texts[-1] + " ."], texts.labels)
    assert asked(changed)[1] == ROWS


def test_another_truncation_misses(asked, texts):
    asked(texts)
    assert asked(texts, lambda teacher: setattr(teacher, "max_length", 8))[1] == ROWS


@pytest.mark.parametrize("damage", ["one byte", "truncated", "gone", "no record", "broken record"])
def test_a_damaged_shard_alone_is_made_again_to_the_same_bits(asked, texts, tmp_path, damage):
    before = asked(texts)[0][range(ROWS)]
    shard, record = files(tmp_path, "*/logits-00001.npy")[0], files(tmp_path, "*/logits-00001.json")[0]
    whole = shard.read_bytes()
    if damage == "one byte":
        shard.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif damage == "truncated":
        shard.write_bytes(whole[:-8])
    elif damage == "gone":
        shard.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text('{"rows": ')
    after, answered = asked(texts)
    assert answered == 16
    np.testing.assert_array_equal(before, after[range(ROWS)])
    assert shard.read_bytes() == whole


def test_a_build_that_was_cut_off_goes_on(asked, texts, tmp_path, monkeypatch):
    write = cache._write_shard

    def mortal(folder, start, rows):
        if start == 32:
            raise KeyboardInterrupt
        write(folder, start, rows)

    monkeypatch.setattr(cache, "_write_shard", mortal)
    with pytest.raises(KeyboardInterrupt):
        asked(texts)
    monkeypatch.setattr(cache, "_write_shard", write)
    assert asked(texts)[1] == 8


def test_a_second_process_waits_and_is_given_the_answers(asked, texts, monkeypatch):
    """Guards an hour of a large teacher spent twice."""
    busy, go_on = threading.Event(), threading.Event()
    write = cache._write_shard

    def slow(folder, start, rows):
        busy.set()
        go_on.wait(timeout=20)
        write(folder, start, rows)

    monkeypatch.setattr(cache, "_write_shard", slow)
    counts = {}
    one = threading.Thread(target=lambda: counts.update(one=asked(texts)[1]))
    two = threading.Thread(target=lambda: counts.update(two=asked(texts)[1]))
    one.start()
    assert busy.wait(timeout=20)
    two.start()
    two.join(timeout=0.5)
    assert two.is_alive()
    go_on.set()
    one.join()
    two.join()
    assert counts == {"one": ROWS, "two": 0}
