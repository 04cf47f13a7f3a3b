"""What a masked language model, or a word table, offers in a word's place."""

import re

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedTokenizerFast, set_seed

from compress.data.augmentation import find_words
from compress.distillation import candidates
from compress.distillation.candidates import MaskedWords, NearestWords, load_candidates, whole_words
from compress.errors import CompressError
from compress.heads import load_masked_lm
from tests.conftest import BAD, FAMILIES, FILLER, GOOD, tiny_config

TEXTS = [
    "a lovely film with bright music and a dull plot",
    "grim",
    "story , scene ; warm clumsy story",
    "the stale witty tender plot is cold so music was grim",
]
COUNT = 5


def needed(texts):
    """Every word that may be replaced, by its number."""
    return [dict(enumerate(find_words(text))) for text in texts]


@pytest.fixture
def directory(tmp_path, tokenizer):
    """head or not, and a family → a directory with such a model, whose logits are well apart."""

    def build(family="bert", *, head=True, seed=0):
        set_seed(seed)
        kind = AutoModelForMaskedLM if head else AutoModel
        model = kind.from_config(tiny_config(family, tokenizer, initializer_range=0.5))
        folder = tmp_path / f"{family}-{head}-{seed}"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.fixture
def masked(directory):
    """Options → candidates of a tiny MLM, and the model itself."""
    encoder = load_masked_lm(directory(), seed=0, allow_new_head=False)
    encoder.model.train(False)

    def build(**options):
        return MaskedWords(encoder, NearestWords(encoder, count=COUNT), count=COUNT, **options)

    return build, encoder


@pytest.mark.parametrize("family", FAMILIES)
def test_an_mlm_head_is_used_where_there_is_one(directory, family):
    assert load_candidates(directory(family), count=COUNT).kind == "masked-lm"
    assert load_candidates(directory(family, head=False), count=COUNT).kind == "embeddings"


@pytest.mark.parametrize("head", [True, False])
def test_candidates_are_other_whole_words_of_a_to_z(directory, head):
    """Guards word ends (##ly), punctuation, special tokens and the word itself in a word's place."""
    source = load_candidates(directory(head=head), count=COUNT)
    for words, found in zip(needed(TEXTS), source.find(TEXTS, needed(TEXTS)), strict=True):
        assert found.keys() == words.keys()
        for number, word in words.items():
            assert len(found[number]) == len(set(found[number])) == COUNT
            assert all(re.fullmatch("[a-z]{2,}", candidate) for candidate in found[number])
            assert set(found[number]) <= {*GOOD, *BAD, *FILLER} - {word.text}


def test_all_of_a_small_vocabulary_is_offered_where_more_are_asked_for(directory):
    for head in (True, False):
        found = load_candidates(directory(head=head), count=500).find(["grim"], needed(["grim"]))
        assert set(found[0][0]) == {word for word in (*GOOD, *BAD, *FILLER) if len(word) > 1} - {"grim"}


def test_one_word_a_pass_gives_what_the_algorithm_gives(masked, tokenizer):
    """Against a plain loop: each word masked by itself, the text as it was behind it, all logits computed."""
    build, encoder = masked
    found = build(passes=None).find(TEXTS, needed(TEXTS))
    words = whole_words(tokenizer)
    for text, row in zip(TEXTS, found, strict=True):
        pieces = tokenizer.tokenize(text)
        for number, word in enumerate(find_words(text)):
            place = len(tokenizer.tokenize(text[: word.start]))
            line = ["[CLS]", *pieces, "[SEP]", *pieces, "[SEP]"]
            line[1 + place] = "[MASK]"
            ids = torch.tensor([tokenizer.convert_tokens_to_ids(line)])
            types = torch.tensor([[0] * (len(pieces) + 2) + [1] * (len(pieces) + 1)])
            with torch.no_grad():
                logits = encoder.model(input_ids=ids, token_type_ids=types).logits[0, 1 + place]
            best = [words[piece] for piece in logits.argsort(descending=True).tolist() if piece in words]
            assert list(row[number]) == [candidate for candidate in best if candidate != word.text][:COUNT]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_batches_change_nothing(masked, size):
    """Guards padding that counts, and candidates given to another text of the batch."""
    build, _ = masked
    assert build(batch_size=size).find(TEXTS, needed(TEXTS)) == build().find(TEXTS, needed(TEXTS))
    backwards = build(batch_size=size).find(TEXTS[::-1], needed(TEXTS[::-1]))
    assert backwards[::-1] == build().find(TEXTS, needed(TEXTS))


@pytest.mark.parametrize(
    ("passes", "expected"), [(3, 3 + 1 + 3 + 3), (2, 2 + 1 + 2 + 2), (None, 6 + 1 + 5 + 7)]
)
def test_each_word_is_masked_once_and_neighbours_are_not_masked_together(masked, tokenizer, passes, expected):
    build, encoder = masked
    seen = []
    hook = encoder.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.extend(inputs["input_ids"].tolist()), with_kwargs=True
    )
    build(passes=passes).find(TEXTS, needed(TEXTS))
    hook.remove()
    assert len(seen) == expected
    assert sum(ids.count(tokenizer.mask_token_id) for ids in seen) == sum(map(len, needed(TEXTS)))
    for ids in seen:
        first, second = np.split(np.array(ids), [ids.index(tokenizer.sep_token_id)])
        assert tokenizer.mask_token_id not in second  # the text as it was
        first = tokenizer.convert_ids_to_tokens(first[1:])
        words = [word for word in first if word == "[MASK]" or find_words(word)]
        assert "[MASK] [MASK]" not in " ".join(words)


def test_only_some_words_are_asked_about(masked):
    build, _ = masked
    some = [{2: needed(TEXTS)[0][2]}, {}, {}, {}]
    found = build(passes=None).find(TEXTS, some)
    assert [list(row) for row in found] == [[2], [], [], []]
    assert found[0][2] == build(passes=None).find(TEXTS, needed(TEXTS))[0][2]
    assert build().find([], []) == []


def test_a_word_of_several_pieces_takes_its_neighbours_in_the_table(masked):
    build, encoder = masked
    text = "warmly films"  # warm ##ly film ##s
    source = build()
    found = source.find([text], needed([text]))[0]
    assert found == source.nearest.find([text], needed([text]))[0]
    table = encoder.model.get_input_embeddings().weight.detach().numpy()
    pieces = encoder.tokenizer.convert_tokens_to_ids(["warm", "##ly"])
    vector = table[pieces].mean(axis=0)
    cosines = table @ vector / np.maximum(np.linalg.norm(table, axis=1), 1e-9) / np.linalg.norm(vector)
    words = whole_words(encoder.tokenizer)
    assert list(found[0]) == [words[piece] for piece in np.argsort(-cosines) if piece in words][:COUNT]
    assert found[0][0] == "warm"


def test_words_that_nobody_knows_have_no_candidates(directory):
    """Guards the mean of no rows, NaN, whose neighbours would be anything."""
    source = load_candidates(directory(head=False), count=COUNT)
    assert source.find(["xyzzy grim"], needed(["xyzzy grim"]))[0][0] == ()


def test_words_beyond_the_models_positions_take_their_neighbours(masked):
    build, _ = masked
    text = " ".join(["grim"] * 60)
    source = build()
    found = source.find([text], needed([text]))[0]
    near = source.nearest.find([text], needed([text]))[0]
    assert len(found) == 60
    assert found[59] == near[59]
    assert found[0] != near[0]


def test_a_word_is_compared_with_the_table_once(directory, monkeypatch):
    source = load_candidates(directory(head=False), count=COUNT)
    source.find(TEXTS, needed(TEXTS))
    monkeypatch.setattr(source, "_vector", None)
    assert source.find(TEXTS, needed(TEXTS))


def test_many_words_are_compared_in_parts(directory, monkeypatch):
    whole = load_candidates(directory(head=False), count=COUNT).find(TEXTS, needed(TEXTS))
    monkeypatch.setattr(candidates, "WORDS_A_PRODUCT", 2)
    assert load_candidates(directory(head=False), count=COUNT).find(TEXTS, needed(TEXTS)) == whole


@pytest.mark.parametrize(
    "pieces",
    [
        ["[PAD]", "Film", "##film", "a", "good", "café", "bad", "##s", "mp3", "Ġ"],
        ["<pad>", "film", "Ġa", "Ġgood", "ĠFilm", "Ġcafé", "Ġbad", "s", "Ġmp3", "good"],
        ["<pad>", "film", "▁a", "▁good", "▁Film", "▁café", "▁bad", "s", "▁mp3", "▁"],
    ],
)
def test_whole_words_are_known_by_each_kind_of_tokenizer(pieces):
    class Vocabulary:
        def get_vocab(self):
            return {piece: number for number, piece in enumerate(pieces)}

    assert list(whole_words(Vocabulary()).values()) == ["good", "bad"]


def test_the_space_that_some_tokenizers_count_is_none_of_the_word():
    text = "a grim film"
    words = dict(enumerate(find_words(text)))
    offsets = [(0, 0), (0, 1), (1, 6), (6, 9), (9, 11), (0, 0), (1, 6)]
    sequences = [None, 0, 0, 0, 0, None, 1]
    assert candidates._single_pieces(text, offsets, sequences, words) == {0: 2}


def test_a_vocabulary_without_words_is_refused(directory, tokenizer, monkeypatch):
    folder = directory(head=False)
    monkeypatch.setattr(PreTrainedTokenizerFast, "get_vocab", lambda _: {"[PAD]": 0, "##s": 1, "ä": 2})
    with pytest.raises(CompressError, match="no two whole words"):
        load_candidates(folder, count=COUNT)
