"""A corpus as sequences of tokens on disk: cut once a tokenizer and a length, memory-mapped ever after.

A sequence lies within one document. Its paragraphs (lines) follow one another, so that a sequence is text as it was
written; special tokens are added when it is fetched, as the tokenizer itself would add them.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.arrays import ArrayWriter
from compress.data.batching import CorpusExamples, Rows
from compress.data.corpus import Corpus
from compress.data.documents import LONGEST_LINE, split_lines
from compress.data.keeping import AboutArrays, map_arrays
from compress.data.tokenizing import smallest_type, tokenize_texts, tokenizer_state
from compress.errors import InvalidInputError
from compress.runs import CORPUS_CACHE, content_key

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of what lies in the cache; another number makes every corpus be cut anew."""
SHORTEST = 8
"""Tokens, special ones not counted: a shorter rest teaches nothing and is left out."""
HELD_OUT = 256
"""Sequences that are held out, at the most."""
ARRAYS = ("ids", "offsets", "documents")


class AboutSequences(AboutArrays):
    """What a corpus in sequences holds."""

    max_length: int
    sequences: int


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around a text: the special tokens before and after it, and the names of its inputs."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    inputs: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def enclose(self, contents: Iterable[NDArray[Any]]) -> dict[str, list[list[int]]]:
        """The model's inputs for texts of one segment each, special tokens around them."""
        texts = [[*self.before, *content.tolist(), *self.after] for content in contents]
        fill = {"attention_mask": 1, "token_type_ids": 0}
        return {
            name: texts if name == "input_ids" else [[fill[name]] * len(text) for text in texts]
            for name in self.inputs
        }


class Sequences(CorpusExamples):
    """Sequences of tokens, fetched a batch at a time as `TokenizedSet` is; a view of some, where `rows` says which.

    Args:
        ids: Tokens of all sequences, one after the other, without special ones.
        offsets: Where each begins and the last one ends, `[N + 1]`.
        documents: For each the number of its document, `[N]`, ascending.
        frame: The special tokens around each.
        rows: The sequences of this view, in its order; default all.
    """

    def __init__(
        self,
        ids: NDArray[Any],
        offsets: NDArray[np.int64],
        documents: NDArray[np.int64],
        *,
        frame: Frame,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.ids = ids
        self.offsets = offsets
        self.documents = documents
        self.frame = frame
        self.rows = np.arange(len(documents)) if rows is None else rows
        self.lengths: NDArray[np.int64] = offsets[self.rows + 1] - offsets[self.rows] + len(frame)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, rows: list[int]) -> Rows:
        """The sequences of the given numbers, special tokens around them; what PyTorch's loader asks for."""
        return Rows(tokens=self.frame.enclose([self.content(row) for row in rows]), columns={}, numbers=rows)

    def content(self, row: int) -> NDArray[Any]:
        """The tokens of one sequence, special ones left out."""
        number = self.rows[row]
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Sequences":
        """The sequences of the given numbers, in their order; nothing is copied but the numbers."""
        chosen = self.rows[np.asarray(rows, dtype=np.int64)]
        return Sequences(self.ids, self.offsets, self.documents, frame=self.frame, rows=chosen)


def hold_out(sequences: Sequences, *, seed: int, share: float = 0.05) -> tuple[Sequences, Sequences]:
    """Part sequences into what is learned and what is only looked at.

    Whole documents are held out, drawn by the seed, until the share is reached (at most 256 sequences); of the last
    one only its beginning, where it has more than is missing.

    Returns:
        The rest and the hold-out, neither of them empty, each in the order of the corpus.

    Raises:
        InvalidInputError: There is one sequence only.
    """
    if len(sequences) < 2:
        raise InvalidInputError(
            "The corpus is one sequence long, and one has to be held out.", "Bring more text."
        )
    held = min(max(1, round(share * len(sequences))), HELD_OUT, len(sequences) - 1)
    names, homes = np.unique(sequences.documents[sequences.rows], return_inverse=True)
    turn = np.random.default_rng([seed, len(sequences)]).permutation(len(names))
    order = np.argsort(turn[homes], kind="stable")
    return sequences.select(np.sort(order[held:])), sequences.select(np.sort(order[:held]))


def tokenize_corpus(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, max_length: int, store: Path
) -> Sequences:
    """Cut a corpus's documents into sequences of at most `max_length` tokens, special ones included.

    What is whole in the cache is taken, what is not is made; a second process that wants the same waits for the
    first. Memory does not grow with the corpus, only with its longest document.

    Args:
        corpus: Its documents.
        tokenizer: Fast or slow; a fast one uses as many threads as TOKENIZERS_PARALLELISM and RAYON_NUM_THREADS allow.
        max_length: In tokens.
        store: The directory of runs; the cache lies in it.

    Raises:
        InvalidInputError: `max_length` leaves no room for text, a file cannot be read, or no document is long enough.
        CompressError: The cache cannot be written.
    """
    frame = read_frame(tokenizer)
    if max_length < SHORTEST + len(frame):
        raise InvalidInputError(
            f"A max_length of {max_length} leaves {max_length - len(frame)} tokens for text; "
            f"sequences have at least {SHORTEST}.",
            f"Set max_length to {SHORTEST + len(frame)} or more.",
        )
    folder = store / CORPUS_CACHE / corpus_key(corpus, tokenizer, max_length=max_length)
    build = partial(_build, folder, corpus, tokenizer, max_length=max_length)
    ids, offsets, documents = map_arrays(
        folder, ARRAYS, about=AboutSequences, build=build, busy="tokenizes the corpus"
    )
    return Sequences(ids, offsets, documents, frame=frame)


def corpus_key(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> str:
    """A hash over the documents, everything that decides the tokens, and the length."""
    return content_key(
        {
            "format": FORMAT,
            "corpus": corpus.fingerprint,
            "tokenizer": tokenizer_state(tokenizer),
            "max_length": max_length,
            "cutting": [SHORTEST, LONGEST_LINE],
        }
    )


def read_frame(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """What a tokenizer puts around a text, seen on one."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    begin = special.index(0)
    end = len(special) - special[::-1].index(0)
    inputs = tuple(name for name in encoded if name != "special_tokens_mask")
    return Frame(before=tuple(ids[:begin]), after=tuple(ids[end:]), inputs=inputs)


def cut(paragraphs: Iterable[Sequence[int]], *, room: int) -> Iterator[list[int]]:
    """Pack the paragraphs of one document into sequences of at most `room` tokens.

    A paragraph that does not fit into what is left begins a new sequence, unless the old one would be too short; one
    that is longer than a sequence is cut. A rest of fewer than `SHORTEST` tokens is left out.
    """
    sequence: list[int] = []
    for paragraph in paragraphs:
        if len(sequence) + len(paragraph) > room and len(sequence) >= SHORTEST:
            yield sequence
            sequence = []
        sequence = [*sequence, *paragraph]
        while len(sequence) > room:
            yield sequence[:room]
            sequence = sequence[room:]
    if len(sequence) >= SHORTEST:
        yield sequence


def _build(
    folder: Path, corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> dict[str, Any]:
    room = max_length - len(read_frame(tokenizer))
    logger.info("  tokenizing the corpus %s", corpus.name)
    seen = -1
    with (
        ArrayWriter(folder / "ids.npy", smallest_type(tokenizer)) as ids,
        ArrayWriter(folder / "offsets.npy", np.int64) as offsets,
        ArrayWriter(folder / "documents.npy", np.int64) as documents,
    ):
        offsets.append(np.zeros(1))
        for seen, paragraphs in groupby(
            tokenize_texts(_paragraphs(corpus.documents()), tokenizer), key=itemgetter(0)
        ):
            for sequence in cut((tokens for _, tokens in paragraphs), room=room):
                ids.append(np.array(sequence))
                offsets.append(np.array([ids.length]))
                documents.append(np.array([seen]))
        if not documents.length:
            raise InvalidInputError(
                f"No document of the corpus {corpus.name!r} has {SHORTEST} tokens.", "Bring more text."
            )
    return {
        "corpus": corpus.origin,
        "max_length": max_length,
        "documents": seen + 1,
        "sequences": documents.length,
        "tokens": ids.length,
    }


def _paragraphs(documents: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The number of a document and a line of it, for each in order."""
    return ((number, line) for number, document in enumerate(documents) for line in split_lines(document))
