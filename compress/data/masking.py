"""Which tokens of a batch a model has to guess, and what it is shown in their place.

Pure functions of arrays and a generator; nothing is drawn from a global random state.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.batching import CorpusExamples
from compress.errors import CompressError, InvalidInputError
from compress.recipes.methods import Masking

IGNORED = -100
"""The label of a token that is not to be guessed: what cross-entropy in PyTorch leaves out."""
BLOCK = 4096
"""Sequences whose tokens are counted together."""
WORD_BEGINS = {"ByteLevel": ("Ġ", "Ċ"), "Metaspace": ("▁",)}
"""By a tokenizer's pre-tokenizer: what the first piece of a word begins with."""


@dataclass(frozen=True)
class Vocabulary:
    """What masking has to know of a tokenizer.

    Attributes:
        mask_id: The token that stands for a hidden one.
        special: Tokens that are never hidden and never put in place of another, `[V]`.
        word_starts: Tokens that begin a word, `[V]`; all do where a tokenizer does not say.
    """

    mask_id: int
    special: NDArray[np.bool_]
    word_starts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.special)


def read_vocabulary(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """What a tokenizer's tokens are: special, the first piece of a word, or a later one.

    Raises:
        CompressError: It has no mask token.
    """
    if tokenizer.mask_token_id is None:
        raise CompressError(
            "The tokenizer has no mask token, so no token can be hidden from the model.",
            'Name one in tokenizer_config.json, such as "mask_token": "[MASK]", or bring an encoder that has one.',
        )
    pieces = tokenizer.get_vocab()
    size = max(pieces.values()) + 1
    special = np.ones(size, dtype=np.bool_)  # a number that no token has is no replacement either
    special[list(pieces.values())] = False
    special[tokenizer.all_special_ids] = True
    starts = np.ones(size, dtype=np.bool_)
    continues, begins = _word_marks(tokenizer)
    for piece, number in pieces.items():
        if continues:
            starts[number] = not piece.startswith(continues)
        elif begins:
            starts[number] = piece.startswith(begins)
    return Vocabulary(mask_id=tokenizer.mask_token_id, special=special, word_starts=starts)


def count_tokens(sequences: CorpusExamples, vocab_size: int) -> NDArray[np.int64]:
    """How often each token of the vocabulary occurs, special ones around sequences left out: `[V]`."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(sequences), BLOCK):
        rows = range(start, min(start + BLOCK, len(sequences)))
        tokens = np.concatenate([sequences.content(row) for row in rows])
        counts += np.bincount(tokens, minlength=vocab_size)
    return counts


def mask_batch(
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    masking: Masking,
    *,
    vocabulary: Vocabulary,
    generator: np.random.Generator,
    counts: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hide some of a batch's tokens.

    Args:
        input_ids: `[B, L]`; left as it is.
        attention_mask: 0 where there is padding, `[B, L]`.
        masking: Which tokens are hidden, and how.
        vocabulary: The tokenizer's.
        generator: What is drawn is drawn from it.
        counts: How often each token occurs in the corpus, `[V]`; taken where `masking.smoothing` is set.

    Returns:
        The tokens that the model sees, and what it has to guess (−100 elsewhere), both `[B, L]`. At least one
        token is hidden.

    Raises:
        InvalidInputError: There is nothing but special tokens.
        ValueError: Counts are missing.
    """
    eligible = _find_eligible(input_ids, attention_mask, vocabulary)
    if masking.smoothing is not None:
        if counts is None:
            raise ValueError("smoothing takes the counts of the corpus's tokens")
        weights = np.maximum(counts[input_ids], 1.0) ** -masking.smoothing
        chosen = select_smoothed(eligible, weights, masking.probability, generator=generator)
    elif masking.whole_words:
        words = number_words(eligible, vocabulary.word_starts[input_ids])
        chosen = select_words(words, masking.probability, max_ngram=masking.max_ngram, generator=generator)
    else:
        chosen = select_tokens(eligible, masking.probability, generator=generator)
    labels = np.where(chosen, input_ids, IGNORED)
    return _replace(input_ids, chosen, masking, vocabulary=vocabulary, generator=generator), labels


def mask_each(
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    masking: Masking,
    *,
    vocabulary: Vocabulary,
    generators: Sequence[np.random.Generator],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hide some tokens of each example of a batch, whatever else is in it; arguments and errors as `mask_batch`.

    Args:
        input_ids: `[B, L]`; left as it is.
        attention_mask: 0 where there is padding, `[B, L]`.
        masking: Which tokens are hidden, and how; without smoothing, which looks at the whole batch.
        vocabulary: The tokenizer's.
        generators: One an example.

    Returns:
        As `mask_batch`; nothing is hidden of an example that holds nothing but special tokens.
    """
    known = _find_eligible(input_ids, attention_mask, vocabulary).any(axis=1)
    shown, labels = input_ids.copy(), np.full_like(input_ids, IGNORED)
    for row in np.flatnonzero(known):
        shown[[row]], labels[[row]] = mask_batch(
            input_ids[[row]],
            attention_mask[[row]],
            masking,
            vocabulary=vocabulary,
            generator=generators[int(row)],
        )
    return shown, labels


def _find_eligible(
    input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], vocabulary: Vocabulary
) -> NDArray[np.bool_]:
    eligible: NDArray[np.bool_] = (attention_mask != 0) & ~vocabulary.special[input_ids]
    if not eligible.any():
        raise InvalidInputError(
            "A batch holds nothing but special tokens: its text is unknown to the tokenizer.",
            "Bring a corpus in the language and the script that the tokenizer was made for.",
        )
    return eligible


def select_tokens(
    eligible: NDArray[np.bool_], probability: float, *, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw a share of each sequence's tokens, one at the least (BERT): `[B, L]`."""
    order = np.argsort(np.where(eligible, generator.random(eligible.shape), np.inf), axis=1)
    drawn = np.arange(eligible.shape[1]) < _budgets(eligible, probability)[:, None]
    chosen = np.zeros_like(eligible)
    np.put_along_axis(chosen, order, drawn, axis=1)
    return chosen


def select_smoothed(
    eligible: NDArray[np.bool_],
    weights: NDArray[np.float64],
    probability: float,
    *,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw a share of the whole batch's tokens, without replacement, in proportion to weights (DistilBERT).

    The largest of log weights plus Gumbel noise are such a draw (Kool et al. 2019, section 2.2).

    Args:
        eligible: Which may be drawn, `[B, L]`.
        weights: Positive, `[B, L]`.
        probability: The share, rounded up.
        generator: The draw is its.
    """
    places = np.flatnonzero(eligible)
    keys = np.log(weights.ravel()[places]) + generator.gumbel(size=len(places))
    chosen = np.zeros(eligible.size, dtype=np.bool_)
    chosen[places[np.argsort(-keys)[: math.ceil(probability * len(places))]]] = True
    return chosen.reshape(eligible.shape)


def number_words(eligible: NDArray[np.bool_], starts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each token the number of its word, counted from 0 in each sequence; −1 where it is in none: `[B, L]`.

    A piece that continues a word begins one where there is none before it: where a sequence was cut within a word, and
    after a special token.
    """
    before = np.pad(eligible, ((0, 0), (1, 0)))[:, :-1]
    begins = eligible & (starts | ~before)
    return np.where(eligible, np.cumsum(begins, axis=1) - 1, -1)


def select_words(
    words: NDArray[np.int64], probability: float, *, max_ngram: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw whole words until a share of each sequence's tokens is reached, up to `max_ngram` in a row: `[B, L]`.

    As ALBERT does it: words are gone through in a random order; each begins a run of n words, which is shortened
    where it is longer than what is left of the share, and passed over where it still is, or where it meets a run that
    is already hidden. A sequence of which that leaves nothing has one word hidden.
    """
    budgets = _budgets(words >= 0, probability)
    chosen = np.zeros(words.shape, dtype=np.bool_)
    for number, (row, budget) in enumerate(zip(words, budgets, strict=True)):
        if budget:
            sizes = np.bincount(row[row >= 0])
            hidden = _hide_words(sizes, budget, max_ngram=max_ngram, generator=generator)
            chosen[number] = (row >= 0) & hidden[row]
    return chosen


def draw_lengths(
    longest: NDArray[np.int64], *, max_ngram: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """For each place how many words are hidden from there on: n with a probability proportional to 1/n (ALBERT).

    Up to `max_ngram`, or `longest` where that is less: 6/11, 3/11 and 2/11 for up to three.
    """
    sums = np.cumsum(1 / np.arange(1, max_ngram + 1))
    drawn = generator.random(len(longest)) * sums[np.minimum(longest, max_ngram) - 1]
    lengths: NDArray[np.int64] = np.searchsorted(sums, drawn, side="right") + 1
    return lengths


def _hide_words(
    sizes: NDArray[np.int64], budget: int, *, max_ngram: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Of words with so many tokens each, which are hidden."""
    order = generator.permutation(len(sizes))
    lengths = draw_lengths(len(sizes) - order, max_ngram=max_ngram, generator=generator)
    hidden = np.zeros(len(sizes), dtype=np.bool_)
    for begin, drawn in zip(order, lengths, strict=True):
        length = drawn
        while length > 1 and sizes[begin : begin + length].sum() > budget:
            length -= 1
        run = slice(begin, begin + length)
        if sizes[run].sum() <= budget and not hidden[run].any():
            hidden[run] = True
            budget -= sizes[run].sum()
        if not budget:
            break
    if not hidden.any():
        hidden[order[0]] = True
    return hidden


def _budgets(eligible: NDArray[np.bool_], probability: float) -> NDArray[np.int64]:
    """How many tokens of each sequence are hidden: the rounded share, one at the least, none where there are none."""
    tokens = eligible.sum(axis=1)
    budgets: NDArray[np.int64] = np.minimum(np.maximum(np.rint(probability * tokens), 1), tokens).astype(int)
    return budgets


def _replace(
    input_ids: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    masking: Masking,
    *,
    vocabulary: Vocabulary,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Put the mask, another token or the token itself in each chosen place."""
    ordinary = np.flatnonzero(~vocabulary.special)
    originals = input_ids[chosen]
    others = ordinary[generator.integers(len(ordinary), size=len(originals))]
    drawn = generator.random(len(originals))
    shown = np.where(drawn < masking.mask_share + masking.random_share, others, originals)
    masked = input_ids.copy()
    masked[chosen] = np.where(drawn < masking.mask_share, vocabulary.mask_id, shown)
    return masked


def _word_marks(tokenizer: PreTrainedTokenizerBase) -> tuple[str | None, tuple[str, ...]]:
    """What a later piece of a word begins with, or else what its first piece begins with."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None, ()
    state = json.loads(backend.to_str())
    if state["model"]["type"] == "WordPiece":
        return state["model"]["continuing_subword_prefix"], ()
    kinds = set(_list_kinds(state["pre_tokenizer"]))
    return None, tuple(mark for kind, marks in WORD_BEGINS.items() if kind in kinds for mark in marks)


def _list_kinds(part: Any) -> Iterator[str]:
    """The types of a tokenizer's part and of those nested in it."""
    if isinstance(part, dict):
        yield part.get("type", "")
        for inner in part.get("pretokenizers", ()):
            yield from _list_kinds(inner)
