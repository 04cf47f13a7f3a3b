"""Input formats of pretraining: which sentences make an example together, planned as ranges of tokens.

Pure functions of a table of sentences and a generator; no token is read. A table is where each sentence begins and the
last one ends (`offsets`, in tokens, `[S + 1]`, none empty) and each document's first sentence and the one after its last
(`documents`, `[D, 2]`, none empty). Examples come in the order of the copies, then of the documents. A plan takes some
50 bytes for each example, and four times as much while it is made; nothing grows with tokens.

Here are the plan and RoBERTa's formats without pairs (Liu et al. 2019, section 4.2); those with pairs are in `pairing`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.errors import InvalidInputError

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Examples as ranges of tokens.

    Attributes:
        begins: Where each part begins, `[P]`.
        ends: Where it ends, `[P]`.
        offsets: Where each example's parts begin among the parts, and the last one's end, `[N + 1]`.
        labels: 0 where a pair's second part follows the first in the text, 1 where not, `[N]`; None for other formats.
    """

    begins: Numbers
    ends: Numbers
    offsets: Numbers
    labels: Numbers | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Numbers:
        """Tokens of each example, special ones left out, `[N]`."""
        sums = np.concatenate([[0], np.cumsum(self.ends - self.begins)])
        sizes: Numbers = np.diff(sums[self.offsets])
        return sizes

    def parts(self, row: int) -> list[slice]:
        """The ranges of one example's parts."""
        chosen = range(self.offsets[row], self.offsets[row + 1])
        return [slice(self.begins[part], self.ends[part]) for part in chosen]


def plan_full_sentences(
    offsets: Numbers, documents: Numbers, *, room: int, generator: np.random.Generator, copies: int = 1
) -> Plan:
    """RoBERTa's FULL-SENTENCES: as many whole sentences as fit, across documents, with a separator between those.

    An example's parts are what it has of each document. A sentence that is longer than the room is cut. The first copy
    has the documents in their order, each other one in an order of its own.

    Args:
        offsets: Where sentences begin.
        documents: The sentences of each document.
        room: Tokens of an example, those around it not counted, separators between documents counted.
        generator: What is drawn is drawn from it.
        copies: How often the corpus is gone through. Within a long document the cuts of two copies fall together
            after some examples.

    Raises:
        InvalidInputError: There are no documents, or no room.
    """
    offsets, documents = _prepare(offsets, documents, room=room)
    plans = []
    for copy in range(copies):
        ordered = documents[generator.permutation(len(documents))] if copy else documents
        stream = _lay_out(offsets, ordered, gap=1)
        units = stream.firsts[[0, -1]]
        begins = _cut(stream, units, room=room, shift=copy > 0, generator=generator)
        plans.append(_collect(stream, begins))
    return _join(plans)


def plan_doc_sentences(
    offsets: Numbers, documents: Numbers, *, room: int, generator: np.random.Generator, copies: int = 1
) -> Plan:
    """RoBERTa's DOC-SENTENCES: as many whole sentences of one document as fit.

    A document's last example may be short; the paper then puts more of them into a batch (`bucket_by_tokens`). In
    copies after the first, the first example of a document is shorter by a random part of what its examples have free.
    Arguments and errors as `plan_full_sentences`.
    """
    offsets, documents = _prepare(offsets, documents, room=room)
    stream = _lay_out(offsets, documents, gap=0)
    cuts = (
        _cut(stream, stream.firsts, room=room, shift=copy > 0, generator=generator) for copy in range(copies)
    )
    return _join([_collect(stream, begins) for begins in cuts])


def cut_long_sentences(
    offsets: Numbers, documents: Numbers, *, longest: int, size: int
) -> tuple[Numbers, Numbers]:
    """Cut sentences of more than `longest` tokens into pieces of `size`, the last one shorter; the table of pieces."""
    lengths = np.diff(offsets)
    pieces = np.where(lengths > longest, -(-lengths // size), 1)
    if len(pieces) == pieces.sum():
        return offsets, documents
    starts = np.concatenate([[0], np.cumsum(pieces)])
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], pieces)
    cut = np.repeat(offsets[:-1], pieces) + size * within
    return np.append(cut, offsets[-1]), starts[documents]


def check_table(documents: Numbers, *, room: int, least: int) -> None:
    """Refuse what no example can be made of.

    Raises:
        InvalidInputError: There are no documents, or there is room for fewer tokens than an example takes.
    """
    if room < least:
        raise InvalidInputError(
            f"There is room for {room} token(s) of text in an example; this format takes {least}.",
            "Set a larger max_length.",
        )
    if not len(documents):
        raise InvalidInputError("There are no documents to make examples of.", "Bring more text.")


def _prepare(offsets: Numbers, documents: Numbers, *, room: int) -> tuple[Numbers, Numbers]:
    check_table(documents, room=room, least=1)
    return cut_long_sentences(offsets, documents, longest=room, size=room)


@dataclass(frozen=True)
class _Stream:
    """Sentences in the order in which they are packed.

    Attributes:
        begins: Where each begins in the corpus, in tokens, `[S]`.
        ends: Where it ends there.
        places: Where it ends in the stream, in tokens and separators.
        firsts: The first sentence of each document, and the one after the last, `[D + 1]`.
    """

    begins: Numbers
    ends: Numbers
    places: Numbers
    firsts: Numbers


def _lay_out(offsets: Numbers, documents: Numbers, *, gap: int) -> _Stream:
    """The sentences of documents one after the other, with a gap between two documents."""
    counts = documents[:, 1] - documents[:, 0]
    firsts = np.concatenate([[0], np.cumsum(counts)])
    sentences = np.arange(firsts[-1]) + np.repeat(documents[:, 0] - firsts[:-1], counts)
    begins, ends = offsets[sentences], offsets[sentences + 1]
    gaps = gap * np.repeat(np.arange(len(documents)), counts)
    return _Stream(begins, ends, np.cumsum(ends - begins) + gaps, firsts)


def _cut(
    stream: _Stream, units: Numbers, *, room: int, shift: bool, generator: np.random.Generator
) -> Numbers:
    """The first sentence of each example; one never goes on from one unit (a document, or all) into the next."""
    starts = stream.places - (stream.ends - stream.begins)
    stops = np.repeat(units[1:], np.diff(units))
    following = np.minimum(np.searchsorted(stream.places, starts + room, side="right"), stops)
    begins = _follow(following)
    if not shift:
        return begins
    first, last = units[:-1], units[1:] - 1
    counts = np.bincount(np.searchsorted(units, begins, side="right") - 1, minlength=len(first))
    # Separators that fell between two examples count as taken, so nothing may seem to be free.
    free = room * counts - (stream.places[last] - starts[first])
    free = np.clip(free, 0, room - 1)
    limits = room - generator.integers(free, endpoint=True)
    ends = np.searchsorted(stream.places, starts[first] + limits, side="right")
    following[first] = np.clip(ends, first + 1, units[1:])
    return _follow(following)


def _follow(following: Numbers) -> Numbers:
    """Go from the first sentence to the one that follows on it, and on to the end."""
    found = []
    place = 0
    while place < len(following):
        found.append(place)
        place = int(following[place])
    return np.array(found)


def _collect(stream: _Stream, begins: Numbers) -> Plan:
    """What the examples hold, a part for each of their documents."""
    cuts = np.union1d(begins, stream.firsts[:-1])
    lasts = np.append(cuts[1:], len(stream.begins)) - 1
    offsets = np.append(np.searchsorted(cuts, begins), len(cuts))
    return Plan(begins=stream.begins[cuts], ends=stream.ends[lasts], offsets=offsets)


def _join(plans: list[Plan]) -> Plan:
    counts = np.cumsum([0, *(len(plan.begins) for plan in plans)])
    shifted = [plan.offsets[:-1] + count for plan, count in zip(plans, counts[:-1], strict=True)]
    return Plan(
        begins=np.concatenate([plan.begins for plan in plans]),
        ends=np.concatenate([plan.ends for plan in plans]),
        offsets=np.concatenate([*shifted, counts[-1:]]),
    )
