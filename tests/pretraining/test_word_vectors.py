"""Word vectors: what is counted, what is made of it, and that a model begins with it."""

import json

import numpy as np
import pytest
from scipy import sparse

import compress
from compress.data.sequences import Frame, Sequences
from compress.planning import Options, Schooling
from compress.pretraining import word_vectors
from compress.pretraining.word_vectors import WINDOW, count_neighbours, factorize, weigh
from tests.conftest import write_corpus, write_teacher

FRAME = Frame(before=(), after=(), inputs=("input_ids",))


def examples_of(*texts):
    """Examples of the given tokens."""
    offsets = np.cumsum([0, *map(len, texts)])
    return Sequences(np.concatenate(texts), offsets, np.arange(len(texts)), frame=FRAME)


def test_near_neighbours_count_more_and_texts_stay_apart():
    counts = count_neighbours(examples_of([0, 1, 2], [3, 0]), 5).toarray()
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 2] = expected[0, 3] = 1.0
    expected[0, 2] = 0.8
    np.testing.assert_allclose(counts, expected + expected.T, rtol=1e-6)


def test_a_window_has_an_end():
    counts = count_neighbours(examples_of(np.arange(WINDOW + 2)), WINDOW + 2).toarray()
    assert counts[0, WINDOW] == pytest.approx(1 / WINDOW)
    assert counts[0, WINDOW + 1] == 0


def test_counting_does_not_depend_on_how_much_is_held_at_a_time(monkeypatch):
    generator = np.random.default_rng(0)
    examples = examples_of(*(generator.integers(0, 9, size=generator.integers(1, 9)) for _ in range(30)))
    whole = count_neighbours(examples, 9).toarray()
    monkeypatch.setattr(word_vectors, "AT_A_TIME", 20)
    np.testing.assert_allclose(count_neighbours(examples, 9).toarray(), whole, rtol=1e-5)
    monkeypatch.setattr(word_vectors, "COUNTED", int(examples.lengths.sum()) // 2)
    assert 0.2 < count_neighbours(examples, 9).sum() / whole.sum() < 0.8


def test_information_is_that_of_the_formula():
    counts = np.array([[0, 4, 1], [4, 2, 0], [1, 0, 6]], dtype=np.float32)
    found = weigh(sparse.csr_array(counts)).toarray()
    often = counts.sum(axis=1)
    smoothed = often**0.75 / (often**0.75).sum()
    with np.errstate(divide="ignore"):
        expected = np.log(counts / np.outer(often, smoothed))
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-5)


def test_products_of_vectors_come_near_the_information():
    generator = np.random.default_rng(0)
    basis = generator.random((12, 3))
    information = (basis @ basis.T).astype(np.float32)
    vectors = factorize(sparse.csr_array(information), 5, seed=0)
    np.testing.assert_allclose(vectors @ vectors.T, information, atol=1e-3)
    assert factorize(sparse.csr_array(information), 20, seed=0).shape == (12, 20)


def test_tokens_with_the_same_neighbours_are_alike():
    generator = np.random.default_rng(0)
    words = np.array([[0, 1], [2, 3]])  # 0 and 1 stand among 4 to 7, 2 and 3 among 8 to 11
    texts = []
    for _ in range(300):
        side = generator.integers(2)
        texts.append([*(4 + 4 * side + generator.integers(0, 4, size=2)), generator.choice(words[side])])
    vectors = factorize(weigh(count_neighbours(examples_of(*texts), 12)), 6, seed=0)
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = directions @ directions.T
    assert min(alike[0, 1], alike[2, 3]) > 0.9 > 0.2 > max(alike[0, 2], alike[1, 3])


MORE = """
max_position_embeddings = 130

[pretraining.small]
initial_embeddings = "{start}"
longer = {{ max_length = 24 }}

[pretraining.small.training]
per_device_train_batch_size = 8
max_length = 16
bf16 = false

[training]
max_length = 24
bf16 = false
"""


@pytest.mark.parametrize("family", ["electra", "albert"])
def test_a_new_model_starts_from_them(family, tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "stories", documents=20)
    tables = []

    def start(encoder, examples, *, seed):
        facts = word_vectors.start_from_word_vectors(encoder, examples, seed=seed)
        table = encoder.model.get_input_embeddings().weight.detach()
        tables.append((table.clone(), encoder.tokenizer.pad_token_id))
        return facts

    monkeypatch.setattr("compress.pretraining.learning.start_from_word_vectors", start)
    options = Options(training={"max_steps": 4}, pretraining=Schooling(vocab_size=330))
    runs = [
        compress.pretrain(
            str(write_teacher(tmp_path / f"{name}.toml", MORE.format(start=start), family=family)),
            corpus=str(corpus),
            options=options,
            runs=tmp_path / "runs",
        )
        for name, start in (("counted", "ppmi-svd"), ("drawn", "random"))
    ]
    ((table, padding),) = tables  # once: not for random ones, and not again for the longer inputs
    known = table.std(dim=1) > 0.03
    records = sorted((tmp_path / "runs/stories/counted").glob("*/run.json"))
    facts = [json.loads(file.read_text())["facts"] for file in records]
    assert [each["tokens_with_vectors"] for each in facts if "tokens_with_vectors" in each] == [known.sum()]
    assert known.sum() > 10  # the others are letters that never stand alone, and special tokens
    assert not known[padding]
    assert runs[0].run.stage.initial_embeddings == "random"  # what came last went on
    assert "initial_embeddings" not in runs[1].run.stage.model_dump()
