"""A corpus as sentences of tokens on disk: split once a tokenizer, memory-mapped ever after.

What the input formats of pretraining are made of. Documents and sentences follow one another in the corpus's order, and
every token is kept: a sentence that is longer than a model's input is cut by the format that meets it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import sentencex
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.arrays import ArrayWriter
from compress.data.corpus import Corpus
from compress.data.documents import LONGEST_LINE, split_lines
from compress.data.keeping import AboutArrays, map_arrays
from compress.data.tokenizing import smallest_type, tokenize_texts, tokenizer_state
from compress.errors import InvalidInputError
from compress.runs import CORPUS_CACHE, content_key

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of what lies in the cache; another number makes every corpus be split anew."""
ENGLISH = "en"
HELD_OUT = 32_768
"""Tokens that are held out, at the most: 256 sequences of 128."""
ARRAYS = ("ids", "offsets", "bounds")
SPACES = {number: " " for number in range(0x110000) if chr(number).isspace()}
"""sentencex counts every space as one byte and panics within a wider one (1.0.32), so it is shown plain ones."""


class AboutSentences(AboutArrays):
    """What a corpus in sentences holds."""

    language: str
    sentences: int


@dataclass(frozen=True)
class Sentences:
    """Sentences of documents as tokens; a view of some, where `documents` says which.

    Attributes:
        ids: Tokens of all sentences, one after the other, without special ones.
        offsets: Where each sentence begins and the last one ends, `[S + 1]`; none is empty.
        documents: For each document of the view its first sentence and the one after its last, `[D, 2]`.
    """

    ids: NDArray[Any]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]

    def __len__(self) -> int:
        return int((self.documents[:, 1] - self.documents[:, 0]).sum())

    @property
    def tokens(self) -> NDArray[np.int64]:
        """How many tokens each document has, `[D]`."""
        sizes: NDArray[np.int64] = np.diff(self.offsets[self.documents], axis=1)[:, 0]
        return sizes

    @property
    def facts(self) -> dict[str, int]:
        """For the record of a run."""
        return {
            "corpus_documents": len(self.documents),
            "corpus_sentences": len(self),
            "corpus_text_tokens": int(self.tokens.sum()),
        }


def split_corpus(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, store: Path, language: str = ENGLISH
) -> Sentences:
    """Split a corpus's documents into sentences, and those into tokens.

    What is whole in the cache is taken, what is not is made, as by `tokenize_corpus`; memory does not grow with the
    corpus, only with its longest document.

    Args:
        corpus: Its documents.
        tokenizer: Fast or slow; a fast one uses as many threads as TOKENIZERS_PARALLELISM and RAYON_NUM_THREADS allow.
        store: The directory of runs; the cache lies in it.
        language: Of the documents, an ISO 639 code; an unknown one is split as sentencex's nearest.

    Raises:
        InvalidInputError: A file cannot be read, or the tokenizer finds no token in any document.
        CompressError: The cache cannot be written.
    """
    folder = store / CORPUS_CACHE / sentences_key(corpus, tokenizer, language=language)
    build = partial(_build, folder, corpus, tokenizer, language=language)
    ids, offsets, bounds = map_arrays(
        folder, ARRAYS, about=AboutSentences, build=build, busy="splits the corpus into sentences"
    )
    return Sentences(ids, offsets, np.stack([bounds[:-1], bounds[1:]], axis=1))


def sentences_key(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, language: str) -> str:
    """A hash over the documents and everything that decides the sentences and the tokens."""
    return content_key(
        {
            "sentences": FORMAT,
            "corpus": corpus.fingerprint,
            "tokenizer": tokenizer_state(tokenizer),
            "splitting": ["sentencex", version("sentencex"), language, LONGEST_LINE],
        }
    )


def split_sentences(document: str, *, language: str = ENGLISH) -> Iterator[str]:
    """The sentences of a document, in order; a line's end is always a sentence's.

    One that follows a space or a line's end begins with a space, as lines do (`split_lines`).
    """
    for line in split_lines(document):
        begin, apart = 0, False
        for shown in sentencex.segment(language, line.translate(SPACES)):
            piece = line[begin : begin + len(shown)]
            begin += len(shown)
            sentence = piece.strip()
            apart |= piece[:1].isspace()
            if sentence:
                yield f" {sentence}" if apart else sentence
                apart = False
            apart |= piece[-1:].isspace()


def hold_out_documents(
    sentences: Sentences, *, seed: int, share: float = 0.05
) -> tuple[Sentences, Sentences]:
    """Part sentences into what is learned and what is only looked at, before either is made into examples.

    Whole documents are held out, drawn by the seed, until they have the share of the tokens (at most 32,768); of one
    that has more than half of that, only its beginning, so that segments of two documents can be paired.

    Returns:
        The rest and the hold-out, neither of them empty, each in the order of the corpus.

    Raises:
        InvalidInputError: There is one sentence only.
    """
    if len(sentences) < 2:
        raise InvalidInputError(
            "The corpus is one sentence long, and one has to be held out.", "Bring more text."
        )
    wanted = min(max(1, round(share * int(sentences.tokens.sum()))), HELD_OUT)
    count = len(sentences.documents)
    drawn = np.random.default_rng([seed, len(sentences)]).permutation(count)
    rest, held = sentences.documents.copy(), sentences.documents.copy()
    held[:, 1] = held[:, 0]
    missing = wanted
    for number in drawn[: max(1, count - 1)]:
        if missing <= 0:
            break
        begin, end = sentences.documents[number]
        most = sentences.offsets[begin] + min(missing, (wanted + 1) // 2)
        stop = min(int(np.searchsorted(sentences.offsets, most)), int(end) - (count == 1))
        missing -= int(sentences.offsets[stop] - sentences.offsets[begin])
        held[number, 1] = rest[number, 0] = stop
    return _view(sentences, rest), _view(sentences, held)


def _view(sentences: Sentences, documents: NDArray[np.int64]) -> Sentences:
    kept = documents[documents[:, 0] < documents[:, 1]]
    return Sentences(sentences.ids, sentences.offsets, kept)


def _build(
    folder: Path, corpus: Corpus, tokenizer: PreTrainedTokenizerBase, *, language: str
) -> dict[str, Any]:
    logger.info("  splitting the corpus %s into sentences", corpus.name)
    texts = (
        (number, sentence)
        for number, document in enumerate(corpus.documents())
        for sentence in split_sentences(document, language=language)
    )
    with (
        ArrayWriter(folder / "ids.npy", smallest_type(tokenizer)) as ids,
        ArrayWriter(folder / "offsets.npy", np.int64) as offsets,
        ArrayWriter(folder / "bounds.npy", np.int64) as bounds,
    ):
        offsets.append(np.zeros(1))
        bounds.append(np.zeros(1))
        for _, sentences in groupby(tokenize_texts(texts, tokenizer), key=itemgetter(0)):
            kept = [tokens for _, tokens in sentences if tokens]
            if kept:
                sizes = np.array([len(tokens) for tokens in kept])
                offsets.append(ids.length + np.cumsum(sizes))
                ids.append(np.concatenate(kept))
                bounds.append(np.array([offsets.length - 1]))
        if not ids.length:
            raise InvalidInputError(
                f"The tokenizer finds no token in the corpus {corpus.name!r}.", "Bring text that it knows."
            )
    return {
        "corpus": corpus.origin,
        "language": language,
        "documents": bounds.length - 1,
        "sentences": offsets.length - 1,
        "tokens": ids.length,
    }
