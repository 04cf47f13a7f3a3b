"""A text with some of its words replaced: TinyBERT's augmentation (Jiao et al. 2020, Algorithm 1), without its models.

What is replaced is drawn before the candidates are known, so that only the words that are drawn need any. A row's
draws come from a generator of its own: they depend neither on other rows nor on the order of the work.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from compress.data.checking import Texts
from compress.data.task_data import Split
from compress.recipes.methods import Augmentation

WORD = re.compile(r"[\w\u0300-\u036f]+")
"""Letters, digits and combining accents; what holds more than the letters a–z is found whole, and then left alone."""
LETTERS = re.compile(r"[A-Za-z]+")
_AUXILIARIES = (
    "theirs having does did doing just s t d ll m n o ve y ain aren couldn didn doesn don hadn hasn haven isn ma "
    "mightn mustn needn shan shouldn wasn weren won wouldn ca wo sha"
)
"""Stop words of the published code that scikit-learn's list lacks, and what GLUE writes before n't."""

Candidates = Mapping[int, Sequence[str]]
"""Number of a word in its text → what may stand in its place, likeliest first."""


@dataclass(frozen=True)
class Word:
    """A word that may be replaced: its place in its text, in characters, and itself in lower case."""

    start: int
    end: int
    text: str


class CandidateSource(Protocol):
    """Where candidates come from: what a masked language model expects, or the neighbours in an embedding table."""

    kind: str
    """"masked-lm" or "embeddings"."""

    def find(self, texts: Sequence[str], words: Sequence[Mapping[int, Word]]) -> list[Candidates]:
        """Candidates for some words of each text, by the words' numbers; a word that has none may be left out."""


@dataclass(frozen=True)
class Draws:
    """What happens to each of `W` words in each of `N` copies.

    Attributes:
        replaced: Whether it is replaced, `[N, W]`.
        choices: By which candidate, as a share of their number, `[N, W]` in [0, 1).
    """

    replaced: NDArray[np.bool_]
    choices: NDArray[np.float64]

    @property
    def needed(self) -> list[int]:
        """Numbers of the words that are replaced in some copy: only they need candidates."""
        return np.flatnonzero(self.replaced.any(axis=0)).tolist()


@dataclass(frozen=True)
class Enlarged:
    """A train split with the copies of its rows.

    Attributes:
        split: The originals in their order, then the copies; labels are those of the originals.
        origin: The row that each stems from, `[N']`; an original's is its own.
        duplicates: Copies dropped because the same text is there already.
    """

    split: Split
    origin: NDArray[np.int64]
    duplicates: int


@cache
def stop_words() -> frozenset[str]:
    """Words that carry grammar more than meaning, in lower case: scikit-learn's list and the auxiliaries."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS.union(_AUXILIARIES.split())  # type: ignore[no-any-return]


def find_words(text: str) -> tuple[Word, ...]:
    """The words of a text that may be replaced: of the letters a–z alone, and no stop words."""
    return tuple(
        Word(found.start(), found.end(), found.group().lower())
        for found in WORD.finditer(text)
        if LETTERS.fullmatch(found.group()) and found.group().lower() not in stop_words()
    )


def draw_replacements(
    words: int, *, copies: int, probability: float, generator: np.random.Generator
) -> Draws:
    """Draw which of a text's words are replaced in which copy, each by itself with the same probability."""
    return Draws(
        generator.random((copies, words)) < probability,
        generator.random((copies, words)),
    )


def augment_text(text: str, words: Sequence[Word], candidates: Candidates, draws: Draws) -> list[str]:
    """The distinct copies of a text that differ from it, in the order in which they were drawn.

    Spacing and punctuation stay. A word without candidates stays. What takes the place of a word with a capital
    letter gets one, as in the published code; no other case is kept, for teachers are mostly uncased.
    """
    copies: dict[str, None] = {}
    for replaced, choices in zip(draws.replaced, draws.choices, strict=True):
        parts, end = [], 0
        for number in np.flatnonzero(replaced).tolist():
            word, options = words[number], candidates.get(number, ())
            if options:
                option = options[int(choices[number] * len(options))]
                parts += [text[end : word.start], _match_case(option, text[word.start : word.end])]
                end = word.end
        copies["".join([*parts, text[end:]])] = None
    copies.pop(text, None)
    return list(copies)


def augment_rows(
    texts: Texts, recipe: Augmentation, *, copies: int, first: int, seed: int, candidates: CandidateSource
) -> tuple[Texts, NDArray[np.int64]]:
    """The copies of some rows, each row's distinct from each other and from it.

    Args:
        texts: Texts or pairs.
        recipe: How words are replaced.
        copies: How often each text, or side of a pair, is copied.
        first: The first row's number in its split. A row's draws depend on its number and the seed alone.
        seed: Of the draws.
        candidates: What may stand in words' places.

    Returns:
        The copies, and the row of the split that each stems from, `[N]`.
    """
    sides = [
        (row, side, text)
        for row, example in enumerate(texts)
        for side, text in enumerate((example,) if isinstance(example, str) else example)
    ]
    words = [find_words(text) for _, _, text in sides]
    generators = [np.random.default_rng([seed, first + row]) for row in range(len(texts))]
    draws = [
        draw_replacements(
            len(found), copies=copies, probability=recipe.replace_probability, generator=generators[row]
        )
        for (row, _, _), found in zip(sides, words, strict=True)
    ]
    needed = [
        {number: found[number] for number in drawn.needed} for found, drawn in zip(words, draws, strict=True)
    ]
    options = candidates.find([text for _, _, text in sides], needed)
    made, origin = [], []
    for (row, side, text), found, offered, drawn in zip(sides, words, options, draws, strict=True):
        for copy in augment_text(text, found, offered, drawn):
            made.append(_with_side(texts[row], side, copy))
            origin.append(first + row)
    return made, np.asarray(origin, dtype=np.int64)  # type: ignore[return-value]


def enlarge(train: Split, copies: Texts, origin: NDArray[np.int64]) -> Enlarged:
    """Put copies behind the originals, without those that say what an original or an earlier copy says.

    A copy that equals another row's original would bring that row's text under another label, or from the hold-out
    into what is learned.

    Args:
        train: The originals; all are kept, those that occur twice, too.
        copies: Texts or pairs.
        origin: The row of each copy, `[N]`.
    """
    seen = set(train.texts)
    kept = []
    for number, text in enumerate(copies):
        if text not in seen:
            seen.add(text)
            kept.append(number)
    rows = np.concatenate([np.arange(len(train)), origin[kept]]).astype(np.int64)
    texts = [*train.texts, *(copies[number] for number in kept)]
    split = Split(train.name, texts, train.labels[rows])
    return Enlarged(split, rows, len(copies) - len(kept))


def _match_case(candidate: str, word: str) -> str:
    return candidate.capitalize() if word.istitle() else candidate


def _with_side(example: str | tuple[str, str], side: int, text: str) -> str | tuple[str, str]:
    if isinstance(example, str):
        return text
    return (text, example[1]) if side == 0 else (example[0], text)
