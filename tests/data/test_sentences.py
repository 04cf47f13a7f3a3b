"""Documents as sentences of tokens on disk: nothing lost, nothing glued, held out by whole documents."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.data import tokenizing
from compress.data.corpus import Corpus
from compress.data.documents import split_lines
from compress.data.sentences import (
    Sentences,
    hold_out_documents,
    sentences_key,
    split_corpus,
    split_sentences,
)
from compress.errors import InvalidInputError
from compress.runs import CORPUS_CACHE
from tests.data.conftest import DOCUMENTS, corpus_of


def test_sentences_are_what_readers_take_for_one():
    text = 'Dr. Smith came at 5 p.m. on Mr. Gray\'s behalf. "Is it so?" he asked. It cost 3.50 dollars!\nA heading\nYes.'
    assert list(split_sentences(text)) == [
        "Dr. Smith came at 5 p.m. on Mr. Gray's behalf.",
        ' "Is it so?" he asked.',
        " It cost 3.50 dollars!",
        " A heading",
        " Yes.",
    ]


def test_where_a_language_has_no_spaces_none_is_put():
    assert list(split_sentences("今天很好。我们走吧！ 是的。\n好", language="zh")) == [
        "今天很好。",
        "我们走吧！",
        " 是的。",
        " 好",
    ]


letters = st.sampled_from("aB1.?!。\"'()“” -\u00a0\u3000\u2003é😀中\n")


@settings(max_examples=300, deadline=None)
@given(st.lists(letters, max_size=40).map("".join))
def test_no_character_is_lost_or_moved(document):
    """Guards a word glued to the one before it, and the library's panic at a wide space."""
    sentences = list(split_sentences(document))
    # One space stands for those between two sentences; within a sentence all stay as they were.
    assert "".join("".join(sentences).split()) == "".join(document.split())
    assert all(sentence.strip() and sentence.rstrip() == sentence for sentence in sentences)
    assert " ".join("".join(sentences).split()) == " ".join(" ".join(split_lines(document)).split())


def test_wide_spaces_are_as_good_as_plain_ones():
    assert [" ".join(sentence.split()) for sentence in split_sentences("B\u3000. It is.\u2003So.")] == [
        sentence.strip() for sentence in split_sentences("B . It is. So.")
    ]


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level", "sentencepiece"])
def test_tokens_are_those_of_the_whole_document(kinds, tmp_path, kind):
    tokenizer = kinds[kind]
    texts = [DOCUMENTS[0], "\x00", DOCUMENTS[3]]
    found = split_corpus(corpus_of(texts), tokenizer, store=tmp_path)
    kept = [text for text in texts if tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert len(found.documents) == len(kept)
    for (begin, end), text in zip(found.documents, kept, strict=True):
        tokens = found.ids[found.offsets[begin] : found.offsets[end]].tolist()
        assert tokens == tokenizer(" ".join(text.split()), add_special_tokens=False)["input_ids"]
    assert (np.diff(found.offsets) > 0).all()
    assert len(found) == len(found.offsets) - 1
    assert found.facts["corpus_text_tokens"] == len(found.ids)
    assert found.tokens.sum() == len(found.ids)


def test_it_lies_on_disk_and_is_mapped(tokenizer, tmp_path):
    found = split_corpus(corpus_of(DOCUMENTS), tokenizer, store=tmp_path)
    assert isinstance(found.ids, np.memmap)
    assert found.ids.dtype == np.uint16
    (folder,) = (tmp_path / CORPUS_CACHE).iterdir()
    about = json.loads((folder / "about.json").read_text())
    assert (about["documents"], about["sentences"], about["tokens"]) == (4, len(found), len(found.ids))


def test_what_is_whole_is_taken_and_what_is_damaged_made_again(tokenizer, tmp_path):
    reads = []

    def documents():
        reads.append(1)
        return iter(DOCUMENTS)

    corpus = Corpus("mine", "mine", "f", documents)
    first = split_corpus(corpus, tokenizer, store=tmp_path)
    split_corpus(corpus, tokenizer, store=tmp_path)
    assert len(reads) == 1
    (folder,) = (tmp_path / CORPUS_CACHE).iterdir()
    file = folder / "offsets.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = split_corpus(corpus, tokenizer, store=tmp_path)
    assert len(reads) == 2
    np.testing.assert_array_equal(first.ids, again.ids)
    assert file.read_bytes() == whole


def test_chunks_leave_no_trace(tokenizer, tmp_path, monkeypatch):
    expected = split_corpus(corpus_of(DOCUMENTS), tokenizer, store=tmp_path / "a")
    monkeypatch.setattr(tokenizing, "CHUNK", 40)
    found = split_corpus(corpus_of(DOCUMENTS), tokenizer, store=tmp_path / "b")
    for name in ("ids", "offsets", "documents"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_what_decides_the_cache(kinds, tokenizer):
    one = sentences_key(corpus_of([]), tokenizer, language="en")
    assert one != sentences_key(corpus_of([], "g"), tokenizer, language="en")
    assert one != sentences_key(corpus_of([]), tokenizer, language="de")
    assert one != sentences_key(corpus_of([]), kinds["byte-level"], language="en")


def test_text_without_a_token(tokenizer, tmp_path):
    with pytest.raises(InvalidInputError, match="finds no token in the corpus 'mine'"):
        split_corpus(corpus_of(["\x00"]), tokenizer, store=tmp_path)


def material(*documents):
    """Lengths of sentences by document → sentences whose tokens are their documents' numbers."""
    lengths = [length for document in documents for length in document]
    bounds = np.concatenate([[0], np.cumsum([len(document) for document in documents])])
    ids = np.repeat(np.arange(len(documents)), [sum(document) for document in documents])
    return Sentences(
        ids, np.concatenate([[0], np.cumsum(lengths)]), np.stack([bounds[:-1], bounds[1:]], axis=1)
    )


def sentences_of(view):
    return [number for begin, end in view.documents for number in range(begin, end)]


tables = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=9), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(tables, st.integers(0, 9), st.sampled_from([0.01, 0.1, 0.5, 0.9]))
def test_each_sentence_is_on_one_side(documents, seed, share):
    whole = material(*documents, [1, 1])
    rest, held = hold_out_documents(whole, seed=seed, share=share)
    assert len(rest)
    assert len(held)
    assert sorted(sentences_of(rest) + sentences_of(held)) == list(range(len(whole)))
    assert (np.diff(sentences_of(held)) > 0).all()


def test_whole_documents_are_held_out():
    generator = np.random.default_rng(0)
    whole = material(*(generator.integers(5, 30, generator.integers(3, 9)).tolist() for _ in range(300)))
    rest, held = hold_out_documents(whole, seed=0, share=0.1)
    total = whole.tokens.sum()
    assert 0.1 * total <= held.tokens.sum() <= 0.1 * total + 30
    on_both = set(whole.ids[whole.offsets[rest.documents[:, 0]]]) & set(
        whole.ids[whole.offsets[held.documents[:, 0]]]
    )
    assert len(on_both) <= 1, "of the last one only the beginning"
    again, other = (hold_out_documents(whole, seed=seed, share=0.1)[1] for seed in (0, 1))
    assert sentences_of(again) == sentences_of(held) != sentences_of(other)


def test_a_long_document_does_not_fill_the_hold_out(monkeypatch):
    """Guards a hold-out of one book, in which no sentence has a random successor."""
    whole = material(*([10] * 1000 for _ in range(5)))
    _, held = hold_out_documents(whole, seed=0)
    assert held.tokens.tolist() == [1250, 1250]
    monkeypatch.setattr("compress.data.sentences.HELD_OUT", 500)
    assert hold_out_documents(whole, seed=0)[1].tokens.sum() == 500


def test_one_document_is_parted_within():
    rest, held = hold_out_documents(material([4, 4, 4]), seed=0)
    assert (sentences_of(held), sentences_of(rest)) == ([0], [1, 2])
    with pytest.raises(InvalidInputError, match="one sentence long"):
        hold_out_documents(material([4]), seed=0)


def test_memory_does_not_grow_with_the_corpus(tokenizer, tmp_path, monkeypatch):
    """Guards a machine that dies of a large corpus: ten times the text may take a fifth more, no more."""
    monkeypatch.setattr(tokenizing, "CHUNK", 1 << 14)
    document = "the story was dull . It was cold and so very stale !\n" * 20
    peaks = []
    for size in (30, 30, 300):  # the first warms up what is kept for good
        corpus = Corpus("mine", "mine", f"f{len(peaks)}", lambda size=size: iter([document] * size))
        tracemalloc.start()
        split_corpus(corpus, tokenizer, store=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]
