"""What a model has to guess: each rule, and the numbers that its paper gives.

The draws are of fixed seeds; the bounds are such that a sound rule fails once in ten thousand seeds.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest, chisquare
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import compress.data.masking as masking_module
from compress.data.masking import (
    IGNORED,
    Vocabulary,
    count_tokens,
    draw_lengths,
    mask_batch,
    number_words,
    read_vocabulary,
    select_smoothed,
    select_words,
)
from compress.data.sequences import Frame, Sequences
from compress.errors import CompressError, InvalidInputError
from compress.recipes.methods import Masking

SIZE, SPECIAL, MASK = 200, 5, 4
LIMIT = 1e-4
RULES = (
    Masking(),
    Masking(smoothing=0.7),
    Masking(whole_words=True),
    Masking(whole_words=True, max_ngram=3),
    Masking(probability=0.4, mask_share=0.5, random_share=0.5),
)


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Five special tokens; of the others each third continues a word."""
    numbers = np.arange(SIZE)
    return Vocabulary(mask_id=MASK, special=numbers < SPECIAL, word_starts=numbers % 3 != 0)


def batch(rows, length, *, seed=0, padding=0):
    """[CLS] … [SEP] and padding."""
    ids = np.random.default_rng(seed).integers(SPECIAL, SIZE, (rows, length))
    ids[:, 0], ids[:, length - padding - 1], ids[:, length - padding :] = 2, 3, 0
    return ids, (ids != 0).astype(np.int64)


def mask(ids, attention, masking, vocabulary, seed=0):
    counts = np.arange(SIZE)
    generator = np.random.default_rng(seed)
    return mask_batch(ids, attention, masking, vocabulary=vocabulary, generator=generator, counts=counts)


def likely(successes, trials, share):
    return binomtest(int(successes), int(trials), share).pvalue > LIMIT


@pytest.mark.parametrize("masking", RULES, ids=str)
@given(rows=st.integers(1, 6), length=st.integers(3, 40), padding=st.integers(0, 30), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_what_holds_of_every_rule(masking, rows, length, padding, seed):
    """Guards a loss over no token (NaN), over padding or over [SEP], and a batch that the draw has changed."""
    numbers = np.arange(SIZE)
    vocabulary = Vocabulary(mask_id=MASK, special=numbers < SPECIAL, word_starts=numbers % 3 != 0)
    ids, attention = batch(rows, length + padding, seed=seed, padding=padding)
    before = ids.copy()
    shown, labels = mask(ids, attention, masking, vocabulary, seed)
    np.testing.assert_array_equal(ids, before)
    guessed = labels != IGNORED
    assert guessed.any()
    assert not guessed[(attention == 0) | (ids < SPECIAL)].any()
    np.testing.assert_array_equal(labels[guessed], ids[guessed])
    np.testing.assert_array_equal(shown[~guessed], ids[~guessed])
    assert ((shown >= SPECIAL) | (shown == MASK))[guessed].all()


@pytest.mark.parametrize("masking", RULES, ids=str)
def test_pure_and_apart_by_seed(vocabulary, masking):
    ids, attention = batch(8, 40)
    state = np.random.get_state()[1].tolist()
    one, again, other = (mask(ids, attention, masking, vocabulary, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[1], other[1])
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize(("mask_share", "random_share"), [(0.8, 0.1), (0.85, 0.0), (1.0, 0.0), (0.5, 0.5)])
def test_the_shares_of_what_stands_in_a_hidden_tokens_place(vocabulary, mask_share, random_share):
    masking = Masking(probability=0.5, mask_share=mask_share, random_share=random_share)
    ids, attention = batch(200, 102)
    shown, labels = mask(ids, attention, masking, vocabulary)
    guessed = labels != IGNORED
    total = guessed.sum()
    assert likely((shown == MASK)[guessed].sum(), total, mask_share)
    changed = guessed & (shown != MASK) & (shown != ids)
    others = SIZE - SPECIAL
    assert likely(changed.sum(), total, random_share * (1 - 1 / others))
    if changed.any():
        drawn = np.bincount(shown[changed], minlength=SIZE)[SPECIAL:]
        assert chisquare(drawn).pvalue > LIMIT


def test_fifteen_percent_of_each_sequence(vocabulary):
    """BERT: the rounded share of each sequence, one at the least, whatever its batch."""
    ids, attention = batch(4, 102)
    ids[1, 41], attention[1, 42:] = 3, 0
    ids[1, 42:] = 0
    ids[2, 2], attention[2, 3:] = 3, 0
    ids[2, 3:] = 0
    labels = mask(ids, attention, Masking(), vocabulary)[1]
    assert (labels != IGNORED).sum(axis=1).tolist() == [15, 6, 1, 15]


def test_every_place_is_as_likely(vocabulary):
    places = np.zeros(22)
    for seed in range(400):
        ids, attention = batch(20, 22, seed=seed)
        places += (mask(ids, attention, Masking(), vocabulary, seed)[1] != IGNORED).sum(axis=0)
    assert places[0] == places[-1] == 0
    assert chisquare(places[1:-1]).pvalue > LIMIT


def test_smoothing_takes_its_share_of_the_whole_batch(vocabulary):
    """Guards a share of each row: a short row of rare words may be hidden more than a long one of common words."""
    ids, attention = batch(10, 102)
    ids[:5, 1:-1], ids[5:, 1:-1] = 10, 190
    counts = np.where(np.arange(SIZE) == 10, 1_000_000, 1)
    generator = np.random.default_rng(0)
    masking = Masking(smoothing=0.7)
    labels = mask_batch(ids, attention, masking, vocabulary=vocabulary, generator=generator, counts=counts)[1]
    assert (labels != IGNORED).sum() == 150
    assert (labels[5:] != IGNORED).sum() > 140


def test_smoothing_draws_in_proportion_to_the_counts(vocabulary):
    """DistilBERT: max(count, 1)^−0.7. One token of six is drawn, of three kinds."""
    ids = np.array([[10] * 2 + [11] * 2 + [12] * 2])
    counts = np.zeros(SIZE, dtype=np.int64)
    counts[[10, 11, 12]] = [0, 10, 200]
    generator = np.random.default_rng(0)
    drawn = np.zeros(3)
    for _ in range(6000):
        labels = mask_batch(
            ids,
            np.ones_like(ids),
            Masking(smoothing=0.7),
            vocabulary=vocabulary,
            generator=generator,
            counts=counts,
        )[1]
        drawn[labels[labels != IGNORED] - 10] += 1
    weights = np.array([1.0, 10**-0.7, 200**-0.7])
    assert drawn.sum() == 6000
    assert chisquare(drawn, 6000 * weights / weights.sum()).pvalue > LIMIT


def test_a_weighted_draw_is_without_replacement():
    """The second of two is drawn in proportion to what the first has left: plain NumPy gives the probabilities."""
    weights = np.array([[1.0, 2.0, 4.0]])
    generator = np.random.default_rng(0)
    drawn = np.zeros(3)
    for _ in range(6000):
        chosen = select_smoothed(np.ones((1, 3), dtype=bool), weights, 0.5, generator=generator)
        assert chosen.sum() == 2
        drawn += ~chosen[0]
    p = weights[0] / weights.sum()
    left_out = [
        sum(p[a] * p[b] / (1 - p[a]) for a in range(3) for b in range(3) if len({a, b, out}) == 3)
        for out in range(3)
    ]
    assert chisquare(drawn, 6000 * np.array(left_out)).pvalue > LIMIT


def test_smoothing_without_counts_is_a_mistake(vocabulary):
    ids, attention = batch(2, 12)
    with pytest.raises(ValueError, match="counts"):
        mask_batch(
            ids,
            attention,
            Masking(smoothing=0.7),
            vocabulary=vocabulary,
            generator=np.random.default_rng(0),
        )


def test_words_are_numbered(vocabulary):
    ids = np.array([[2, 6, 7, 9, 12, 3, 9, 10, 3, 0], [9, 9, 10, 3, 12, 15, 10, 3, 0, 0]])
    words = number_words(ids >= SPECIAL, vocabulary.word_starts[ids])
    assert words.tolist() == [[-1, 0, 1, 1, 1, -1, 2, 3, -1, -1], [0, 0, 1, -1, 2, 2, 3, -1, -1, -1]]


@pytest.mark.parametrize("max_ngram", [1, 3])
def test_words_are_hidden_whole(vocabulary, max_ngram):
    ids, attention = batch(50, 90, padding=10)
    masking = Masking(whole_words=True, max_ngram=max_ngram)
    guessed = mask(ids, attention, masking, vocabulary)[1] != IGNORED
    words = number_words((attention != 0) & (ids >= SPECIAL), vocabulary.word_starts[ids])
    for row, hidden in zip(words, guessed, strict=True):
        for word in range(row.max() + 1):
            assert len(set(hidden[row == word].tolist())) == 1
    assert (guessed.sum(axis=1) <= 12).all()
    assert guessed.sum() > 0.98 * 12 * 50


def test_a_word_longer_than_the_share_is_hidden_where_there_is_no_other():
    words = np.array([[-1, 0, 0, 0, 0, 0, 0, 0, 0, -1]])
    chosen = select_words(words, 0.15, max_ngram=3, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(chosen, words == 0)


@pytest.mark.parametrize(
    ("max_ngram", "longest", "expected"),
    [(3, 9, [6 / 11, 3 / 11, 2 / 11]), (2, 9, [2 / 3, 1 / 3]), (3, 2, [2 / 3, 1 / 3])],
)
def test_n_is_drawn_in_proportion_to_one_over_n(max_ngram, longest, expected):
    """ALBERT, section 4.1."""
    generator = np.random.default_rng(0)
    lengths = draw_lengths(np.full(20_000, longest), max_ngram=max_ngram, generator=generator)
    found = np.bincount(lengths)[1:]
    assert len(found) == len(expected)
    assert chisquare(found, 20_000 * np.array(expected)).pvalue > LIMIT


def test_runs_of_words_are_hidden_as_long_as_they_were_drawn():
    """A word a token, and so few hidden that runs hardly meet: their lengths are those of the paper."""
    words = np.arange(6000)[None]
    found = np.zeros(4)
    for seed in range(12):
        chosen = select_words(words, 0.01, max_ngram=3, generator=np.random.default_rng(seed))[0]
        assert chosen.sum() == 60
        edges = np.flatnonzero(np.diff(np.pad(chosen.astype(int), 1)))
        found[:3] += np.bincount(edges[1::2] - edges[::2], minlength=4)[1:4]
    assert chisquare(found[:3], found[:3].sum() * np.array([6, 3, 2]) / 11).pvalue > 1e-3


def test_no_run_is_drawn_beyond_the_end(monkeypatch):
    asked = []

    def spy(longest, **options):
        asked.append(sorted(longest.tolist()))
        return draw_lengths(longest, **options)

    monkeypatch.setattr(masking_module, "draw_lengths", spy)
    select_words(np.arange(5)[None], 0.15, max_ngram=3, generator=np.random.default_rng(0))
    assert asked == [[1, 2, 3, 4, 5]]


def test_padding_is_known_by_the_attention_mask(vocabulary):
    """Guards a tokenizer whose padding is no special token, such as [EOS] twice over."""
    ids, attention = batch(20, 40)
    attention[:, 20:] = 0
    for masking in RULES:
        labels = mask(ids, attention, masking, vocabulary)[1]
        assert (labels[:, 20:] == IGNORED).all()


def test_nothing_to_guess_is_refused(vocabulary):
    """Guards a NaN: text in a script that the tokenizer does not know is all [UNK]."""
    ids = np.ones((2, 10), dtype=np.int64)
    with pytest.raises(InvalidInputError, match="nothing but special tokens"):
        mask(ids, ids, Masking(), vocabulary)


def test_tokens_are_counted_in_a_view(vocabulary):
    ids = np.array([5, 6, 6, 7, 7, 7, 8], dtype=np.uint16)
    frame = Frame((2,), (3,), ("input_ids",))
    whole = Sequences(ids, np.array([0, 1, 3, 7]), np.array([0, 0, 1]), frame=frame)
    assert count_tokens(whole, 10).tolist() == [0] * 5 + [1, 2, 3, 1, 0]
    assert count_tokens(whole.select([1]), 10).tolist() == [0] * 6 + [2, 0, 0, 0]


def fast(core, **names):
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **(special | names))


def test_pieces_of_words_are_known_by_the_tokenizers_kind(tokenizer):
    """WordPiece marks what continues a word, byte-level BPE and SentencePiece what begins one."""
    wordpiece = read_vocabulary(tokenizer)
    pieces = tokenizer.get_vocab()
    continued = {piece for piece, number in pieces.items() if not wordpiece.word_starts[number]}
    assert continued == {"##ly", "##s"}
    assert wordpiece.special[:5].all()
    assert not wordpiece.special[5:].any()
    assert wordpiece.mask_id == pieces["[MASK]"]

    names = {"<unk>": 0, "<pad>": 1, "<mask>": 2, "Ġa": 3, "b": 4, "Ġ": 5, "a": 6, "▁a": 7, "##a": 8}
    core = Tokenizer(models.BPE(names, [], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert np.flatnonzero(read_vocabulary(fast(core)).word_starts).tolist() == [3, 5]
    core = Tokenizer(models.Unigram([(piece, -1.0) for piece in names], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    core.decoder = decoders.Metaspace()
    assert np.flatnonzero(read_vocabulary(fast(core)).word_starts).tolist() == [7]
    core = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    assert read_vocabulary(fast(core)).word_starts.all()


def test_a_tokenizer_without_a_mask_is_refused():
    core = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 2}, unk_token="<unk>"))
    with pytest.raises(CompressError, match="no mask token"):
        read_vocabulary(fast(core, mask_token=None))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"mask_share": 0.9, "random_share": 0.2}, "more than 1 together"),
        ({"max_ngram": 3}, "whole_words = true"),
        ({"smoothing": 0.7, "whole_words": True}, "single tokens"),
        ({"max_ngram": 4, "whole_words": True}, "less than or equal to 3"),
        ({"max_ngram": True, "whole_words": True}, "valid integer"),
        ({"probability": 0.0}, "greater than 0"),
        ({"probability": 1.0}, "less than 1"),
        ({"probability": "0.15"}, "valid number"),
        ({"whole_words": 1}, "valid boolean"),
        ({"smoothing": -0.1}, "greater than or equal to 0"),
        ({"share": 0.1}, "Extra inputs"),
    ],
)
def test_what_a_recipe_cannot_say(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        Masking(**fields)
