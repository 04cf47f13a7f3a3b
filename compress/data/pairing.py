"""Input formats of pretraining that are pairs: BERT's and RoBERTa's with next-sentence prediction, ALBERT's with order.

Pure functions of a table of sentences and a generator, as those of `formats`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.formats import Numbers, Plan, check_table, cut_long_sentences
from compress.errors import InvalidInputError

SHORT_SHARE = 0.1
"""Of segment pairs that are made for a shorter target (Devlin et al. 2018, appendix A.2)."""


def plan_segment_pairs(
    offsets: Numbers,
    documents: Numbers,
    *,
    room: int,
    generator: np.random.Generator,
    copies: int = 1,
    short_share: float = SHORT_SHARE,
) -> Plan:
    """BERT's input: two segments of one or more sentences; half of the second ones follow the first in the text.

    As published (Devlin et al. 2018, appendix A.2, and its `create_pretraining_data`): sentences of a document are
    gathered until they reach a target, `room` or for a share of the pairs a number drawn from 2 to `room`; a random
    number of them is A; the others are B or, where B is random, stay for the next pair, and B begins at a random
    sentence of another document, drawn uniformly. What exceeds `room` is taken from the longer segment, each token from its front or
    back at random. Two things differ. The target is drawn for each pair, not for each document, so that the share is one
    of pairs. And a fair coin alone decides whether B is random; the published code pairs with a random B whatever is
    left with one sentence. Here a sentence that reaches the target alone is joined by the next; the last one of a
    document, if left alone, is A where the coin says random, else B after the one before it; a document of one sentence
    is never an A, only a random B.

    Args:
        offsets: Where sentences begin.
        documents: The sentences of each document.
        room: Tokens for both segments, special ones not counted; at least 2.
        generator: What is drawn is drawn from it.
        copies: How often the corpus is gone through, cut and paired anew each time (BERT: 10, with static masks).
        short_share: The share of pairs with a shorter target.

    Raises:
        InvalidInputError: There is only one document, or none of two sentences, or no room for two tokens.
    """
    return _plan_pairs(
        offsets,
        documents,
        room=room,
        copies=copies,
        targets=(room, short_share),
        foreign=True,
        generator=generator,
    )


def plan_sentence_pairs(
    offsets: Numbers, documents: Numbers, *, room: int, generator: np.random.Generator, copies: int = 1
) -> Plan:
    """RoBERTa's SENTENCE-PAIR+NSP: two single sentences (Liu et al. 2019, section 4.2).

    Drawn as `plan_segment_pairs` draws them, with a target that one sentence reaches.
    """
    return _plan_pairs(
        offsets,
        documents,
        room=room,
        copies=copies,
        targets=(0, 0.0),
        foreign=True,
        generator=generator,
    )


def plan_sentence_orders(
    offsets: Numbers,
    documents: Numbers,
    *,
    room: int,
    generator: np.random.Generator,
    copies: int = 1,
    short_share: float = SHORT_SHARE,
) -> Plan:
    """ALBERT's input: two consecutive segments of one document, half of them swapped (Lan et al. 2019, section 3.1).

    Gathered and cut as `plan_segment_pairs` does it; the last sentence of a document, if left alone, is paired with
    the one before it. A document of one sentence has no pair and is left out: the published code gives it a random
    partner, the paper does not, nor do we.
    """
    return _plan_pairs(
        offsets,
        documents,
        room=room,
        copies=copies,
        targets=(room, short_share),
        foreign=False,
        generator=generator,
    )


def _plan_pairs(
    offsets: Numbers,
    documents: Numbers,
    *,
    room: int,
    copies: int,
    targets: tuple[int, float],
    foreign: bool,
    generator: np.random.Generator,
) -> Plan:
    """Walk through all documents at once, a pair of each at a time: a coin decides which B's are changed."""
    check_table(documents, room=room, least=2)
    offsets, documents = cut_long_sentences(offsets, documents, longest=room, size=room // 2)
    homes = np.flatnonzero(documents[:, 1] - documents[:, 0] > 1)
    if not len(homes) or (foreign and len(documents) < 2):
        raise InvalidInputError(
            f"Pairs of sentences take {'two documents, one' if foreign else 'a document'} of two sentences or more; "
            f"of {len(documents)} document(s), {len(homes)} have so many.",
            "Bring more text, one document a row or a file; or choose a format without pairs (full-sentences).",
        )
    homes = np.tile(homes, copies)
    at, ends = documents[homes].T.copy()
    active = np.arange(len(homes))
    rounds: list[NDArray[Any]] = []
    while len(active):
        left, end = at[active], ends[active]
        target = _draw_targets(len(active), *targets, generator=generator)
        first = np.minimum(left, end - 2)  # a last sentence is joined by the one before it
        last = np.clip(np.searchsorted(offsets, offsets[first] + target), first + 2, end)
        middle = first + generator.integers(1, last - first)
        changed = generator.random(len(active)) < 0.5
        a, b = np.stack([first, middle]), np.stack([middle, last])
        at[active] = last
        if foreign:
            a = np.where(changed, [left, np.where(first < left, end, middle)], a)
            needed = target - (offsets[a[1]] - offsets[a[0]])
            others = _draw_segments(offsets, documents, homes[active], needed=needed, generator=generator)
            b = np.where(changed, others, b)
            at[active] = np.where(changed, a[1], last)
        else:
            a, b = np.where(changed, b, a), np.where(changed, a, b)
        pairs = _truncate(offsets[a], offsets[b], room=room, generator=generator)
        rounds.append(np.stack([active, *pairs, changed]))
        active = active[at[active] < end]
    table = np.concatenate(rounds, axis=1)
    table = table[:, np.argsort(table[0], kind="stable")]
    return Plan(
        begins=table[[1, 3]].T.ravel(),
        ends=table[[2, 4]].T.ravel(),
        offsets=2 * np.arange(table.shape[1] + 1),
        labels=table[5],
    )


def _draw_targets(count: int, target: int, short_share: float, *, generator: np.random.Generator) -> Numbers:
    if not short_share:
        return np.full(count, target)
    short = generator.integers(2, target, endpoint=True, size=count)
    return np.where(generator.random(count) < short_share, short, target)


def _draw_segments(
    offsets: Numbers,
    documents: Numbers,
    homes: Numbers,
    *,
    needed: Numbers,
    generator: np.random.Generator,
) -> Numbers:
    """A segment of another document than the own for each: sentences until there are enough tokens, `[2, N]`."""
    others = generator.integers(len(documents) - 1, size=len(homes))
    others += others >= homes
    begin, end = documents[others].T
    first = begin + generator.integers(end - begin)
    last = np.clip(np.searchsorted(offsets, offsets[first] + needed), first + 1, end)
    return np.stack([first, last])


def _truncate(a: Numbers, b: Numbers, *, room: int, generator: np.random.Generator) -> list[Numbers]:
    """Take tokens from the longer of two segments, one by one, each from its front or its back, until both fit.

    Args:
        a: Beginnings and ends of the first segments, `[2, N]`.
        b: Those of the second ones.
        room: Tokens of both.
        generator: The draws are its.

    Returns:
        The beginnings and ends of both, four times `[N]`.
    """
    sizes = np.stack([a[1] - a[0], b[1] - b[0]])
    # Of equals B gives first, so that A has the odd token.
    kept = np.minimum(sizes[0], np.maximum(room - room // 2, room - sizes[1]))
    fits = sizes.sum(axis=0) <= room
    parts = []
    for (begin, end), size, new in zip((a, b), sizes, (kept, room - kept), strict=True):
        surplus = np.where(fits, 0, size - new)
        front = generator.binomial(surplus, 0.5)
        parts += [begin + front, end - (surplus - front)]
    return parts
