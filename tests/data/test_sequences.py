"""Documents as sequences on disk: what a tokenizer would have given, whole or not there, and cheap to view."""

import json
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from compress.data import sequences as module
from compress.data import tokenizing
from compress.data.batching import BucketSampler, pad_rows
from compress.data.corpus import Corpus, resolve_corpus
from compress.data.sequences import SHORTEST, corpus_key, cut, hold_out, tokenize_corpus
from compress.errors import InvalidInputError
from compress.runs import CORPUS_CACHE
from tests.data.conftest import DOCUMENTS, corpus_of


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level", "sentencepiece"])
def test_a_document_that_fits_is_what_its_tokenizer_gives(kinds, tmp_path, kind):
    """Guards special tokens that are missing, doubled or another family's, and words glued over a line's end."""
    tokenizer = kinds[kind]
    texts = [text for text in DOCUMENTS if len(text) > 20]
    found = tokenize_corpus(corpus_of(texts), tokenizer, max_length=2000, store=tmp_path)
    assert len(found) == len(texts)
    for row, text in enumerate(texts):
        expected = tokenizer(" ".join(text.split()))
        tokens = found[row].tokens
        assert set(tokens) == set(expected)
        for name in expected:
            assert tokens[name] == [expected[name]]
        assert found.lengths[row] == len(expected["input_ids"])


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level", "sentencepiece"])
def test_no_token_is_lost_or_doubled_by_cutting(kinds, tmp_path, kind):
    tokenizer = kinds[kind]
    whole = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=2000, store=tmp_path)
    found = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=20, store=tmp_path)
    assert found.lengths.max() == 20
    assert found.lengths.min() >= SHORTEST + 2
    for document in np.unique(whole.documents):
        (row,) = np.flatnonzero(whole.documents == document)
        expected = whole.content(row).tolist()
        joined = [t for r in np.flatnonzero(found.documents == document) for t in found.content(r).tolist()]
        assert joined == expected[: len(joined)]
        assert len(expected) - len(joined) < SHORTEST


paragraphs_of = st.lists(st.integers(1, 60), max_size=12)


@given(paragraphs_of, st.integers(8, 40))
def test_paragraphs_are_packed(sizes, room):
    tokens = iter(range(10_000))
    paragraphs = [[next(tokens) for _ in range(size)] for size in sizes]
    flat = [token for paragraph in paragraphs for token in paragraph]
    found = list(cut(paragraphs, room=room))
    joined = [token for sequence in found for token in sequence]
    assert joined == flat[: len(joined)]
    assert len(flat) - len(joined) < SHORTEST
    assert all(SHORTEST <= len(sequence) <= room for sequence in found)


def test_a_paragraph_stays_whole_where_it_can():
    a, b, c, d = [1] * 12, [2] * 10, [3] * 45, [4] * 3
    assert list(cut([a, b], room=20)) == [a, b]
    assert list(cut([b, b], room=20)) == [b + b]
    assert list(cut([c, d, a], room=20)) == [c[:20], c[:20], [3] * 5 + d + a]
    assert list(cut([d, c], room=20)) == [d + c[:17], c[:20], [3] * 8]
    assert list(cut([a, d], room=12)) == [a]
    assert list(cut([d], room=12)) == []


def test_no_sequence_crosses_documents(tokenizer, tmp_path):
    texts = [" ".join([word] * 13) for word in ("film", "story", "music")]
    found = tokenize_corpus(corpus_of(texts), tokenizer, max_length=64, store=tmp_path)
    assert found.documents.tolist() == [0, 1, 2]
    assert all(len(set(found.content(row).tolist())) == 1 for row in range(3))


def test_chunks_leave_no_trace(tokenizer, tmp_path, monkeypatch):
    """Guards a document that is torn where the texts that are tokenized together end."""
    expected = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=30, store=tmp_path / "a")
    monkeypatch.setattr(tokenizing, "CHUNK", 50)
    found = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=30, store=tmp_path / "b")
    for name in ("ids", "offsets", "documents"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_ids_take_two_bytes_where_they_fit(tokenizer, tmp_path, monkeypatch):
    found = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=30, store=tmp_path)
    assert found.ids.dtype == np.uint16
    assert isinstance(found.ids, np.memmap)
    core = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 1 << 16}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    large = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", pad_token="<pad>")
    found = tokenize_corpus(corpus_of(["a " * 9]), large, max_length=30, store=tmp_path)
    assert found.ids.dtype == np.int32
    assert found.content(0).tolist() == [1 << 16] * 9


def test_a_loader_takes_it_as_it_takes_a_task(tokenizer, tmp_path):
    found = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=20, store=tmp_path)
    sampler = BucketSampler(found.lengths, batch_size=4, seed=0)
    loader = DataLoader(
        found, batch_sampler=sampler, collate_fn=lambda rows: pad_rows(rows, tokenizer=tokenizer)
    )
    batches = list(loader)
    assert sum(len(batch["input_ids"]) for batch in batches) == len(found)
    assert sum(int(batch["attention_mask"].sum()) for batch in batches) == found.lengths.sum()
    assert all(batch["input_ids"].dtype == torch.int64 for batch in batches)


def test_a_view_shows_what_was_chosen(tokenizer, tmp_path):
    found = tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=20, store=tmp_path)
    view = found.select([5, 2, 7]).select(np.array([2, 0]))
    assert len(view) == 2
    assert view[0].tokens == found[7].tokens
    assert view.__getitems__([1, 0]).tokens == found.__getitems__([5, 7]).tokens
    assert view.lengths.tolist() == found.lengths[[7, 5]].tolist()
    assert view.ids is found.ids


@pytest.fixture(scope="module")
def many(tokenizer, tmp_path_factory):
    """200 documents of one to nine sequences."""
    texts = ["film " * (18 * (1 + number % 9)) for number in range(200)]
    store = tmp_path_factory.mktemp("store")
    return tokenize_corpus(corpus_of(texts), tokenizer, max_length=20, store=store)


def test_whole_documents_are_held_out(many):
    """Guards a held-out loss that is low because the model has read the paragraph before."""
    rest, held = hold_out(many, seed=0, share=0.1)
    assert len(held) == round(0.1 * len(many))
    assert sorted([*rest.rows, *held.rows]) == list(range(len(many)))
    assert np.all(np.diff(held.rows) > 0)
    shared = set(many.documents[rest.rows]) & set(many.documents[held.rows])
    assert len(shared) <= 1
    assert len(set(many.documents[held.rows])) > 5
    again, other = hold_out(many, seed=0, share=0.1)[1], hold_out(many, seed=1, share=0.1)[1]
    assert held.rows.tolist() == again.rows.tolist() != other.rows.tolist()


def test_a_hold_out_of_a_view_stays_in_it(many):
    view = many.select(range(100, 300))
    rest, held = hold_out(view, seed=0, share=0.2)
    assert sorted([*rest.rows, *held.rows]) == list(range(100, 300))
    assert len(held) == 40


def test_how_many_are_held_out(many, monkeypatch):
    assert len(hold_out(many, seed=0, share=1e-6)[1]) == 1
    assert len(hold_out(many.select([3, 4]), seed=0, share=0.9)[0]) == 1
    monkeypatch.setattr(module, "HELD_OUT", 30)
    assert len(hold_out(many, seed=0, share=0.5)[1]) == 30
    with pytest.raises(InvalidInputError, match="one sequence long"):
        hold_out(many.select([3]), seed=0)


def test_what_decides_the_cache(kinds, tokenizer):
    one = corpus_key(corpus_of([]), tokenizer, max_length=20)
    assert one == corpus_key(corpus_of(["x"]), tokenizer, max_length=20), (
        "the fingerprint stands for the text"
    )
    assert one != corpus_key(corpus_of([], "g"), tokenizer, max_length=20)
    assert one != corpus_key(corpus_of([]), tokenizer, max_length=21)
    assert one != corpus_key(corpus_of([]), kinds["byte-level"], max_length=20)
    tokenizer(["a story"] * 2, truncation=True, max_length=3, padding=True)
    assert one == corpus_key(corpus_of([]), tokenizer, max_length=20), (
        "what a call leaves behind is none of it"
    )


@pytest.fixture
def counted(tokenizer, tmp_path):
    """Tokenize; how often the documents were read."""
    reads = []

    def documents():
        reads.append(1)
        return iter(DOCUMENTS)

    def call():
        reads.clear()
        corpus = Corpus("mine", "mine", "f", documents)
        return tokenize_corpus(corpus, tokenizer, max_length=20, store=tmp_path), len(reads)

    return call


def test_what_is_whole_is_taken(counted, tmp_path):
    assert counted()[1] == 1
    assert counted()[1] == 0
    (folder,) = (tmp_path / CORPUS_CACHE).iterdir()
    about = json.loads((folder / "about.json").read_text())
    assert (about["corpus"], about["documents"]) == ("mine", 4)
    assert {file.name for file in folder.iterdir()} == {
        ".lock",
        "about.json",
        "ids.npy",
        "offsets.npy",
        "documents.npy",
    }


@pytest.mark.parametrize("damage", ["one byte", "gone", "no record", "broken record"])
def test_what_is_damaged_is_made_again_to_the_same_bits(counted, tmp_path, damage):
    counted()
    (folder,) = (tmp_path / CORPUS_CACHE).iterdir()
    file, record = folder / "ids.npy", folder / "about.json"
    whole = file.read_bytes()
    if damage == "one byte":
        file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    elif damage == "gone":
        file.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("{")
    assert counted()[1] == 1
    assert file.read_bytes() == whole


def test_a_build_that_is_cut_off_leaves_nothing_that_looks_whole(tokenizer, tmp_path):
    def torn():
        yield from DOCUMENTS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize_corpus(Corpus("mine", "mine", "f", torn), tokenizer, max_length=20, store=tmp_path)
    (folder,) = (tmp_path / CORPUS_CACHE).iterdir()
    assert [file.name for file in folder.iterdir()] == [".lock"]


def test_a_second_process_waits_and_reads_nothing(tokenizer, tmp_path):
    busy, go_on, reads = threading.Event(), threading.Event(), []

    def documents():
        reads.append(1)
        busy.set()
        go_on.wait(timeout=20)
        return iter(DOCUMENTS)

    corpus = Corpus("mine", "mine", "f", documents)
    found = []

    def work():
        found.append(tokenize_corpus(corpus, tokenizer, max_length=20, store=tmp_path))

    one, two = threading.Thread(target=work), threading.Thread(target=work)
    one.start()
    assert busy.wait(timeout=20)
    two.start()
    two.join(timeout=0.5)
    assert two.is_alive()
    go_on.set()
    one.join()
    two.join()
    assert len(reads) == 1
    assert len(found[0]) == len(found[1])


def test_text_that_cannot_be_cut(tokenizer, tmp_path):
    with pytest.raises(InvalidInputError, match="leaves 7 tokens for text"):
        tokenize_corpus(corpus_of(DOCUMENTS), tokenizer, max_length=9, store=tmp_path)
    with pytest.raises(InvalidInputError, match="No document of the corpus 'mine' has 8 tokens"):
        tokenize_corpus(corpus_of(["too short"] * 3), tokenizer, max_length=10, store=tmp_path)


def test_memory_does_not_grow_with_the_corpus(tokenizer, tmp_path, monkeypatch):
    """Guards a machine that dies of a large corpus: ten times the text may take a fifth more, no more."""
    monkeypatch.setattr(tokenizing, "CHUNK", 1 << 14)
    line = json.dumps({"text": "the story was dull and cold and so very stale .\n" * 20}) + "\n"
    peaks = []
    for size in (50, 50, 500):  # the first warms up what is kept for good
        file = tmp_path / f"{len(peaks)}.jsonl"
        file.write_text(line * size)
        corpus = resolve_corpus(str(file))
        tracemalloc.start()
        tokenize_corpus(corpus, tokenizer, max_length=64, store=tmp_path / file.stem)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]
