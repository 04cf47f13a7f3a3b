"""Pairs of segments as a model's inputs: special tokens around both, token types, and what is to be told of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.batching import CorpusExamples, Rows
from compress.data.formats import Plan
from compress.errors import CompressError

PairLabel = Literal["next_sentence_label", "sentence_order_label"]
"""The names that transformers gives them: 0 where B follows A in the text, 1 where it is random, or swapped with A."""


@dataclass(frozen=True)
class PairFrame:
    """What a tokenizer puts around a pair of texts.

    Attributes:
        special: The special tokens before the first, between both, and after the second.
        special_types: Their token types.
        types: The token types of the first and the second text.
        inputs: The names of the model's inputs.
    """

    special: tuple[tuple[int, ...], ...]
    special_types: tuple[tuple[int, ...], ...]
    types: tuple[int, int]
    inputs: tuple[str, ...]

    def __len__(self) -> int:
        return sum(map(len, self.special))

    def enclose(self, pairs: Sequence[list[NDArray[Any]]]) -> dict[str, list[list[int]]]:
        """The model's inputs for pairs of texts, special tokens around them."""
        before, between, after = self.special
        texts = [[*before, *a.tolist(), *between, *b.tolist(), *after] for a, b in pairs]
        tokens = {"input_ids": texts}
        if "attention_mask" in self.inputs:
            tokens["attention_mask"] = [[1] * len(text) for text in texts]
        if "token_type_ids" in self.inputs:
            before, between, after = self.special_types
            first, second = self.types
            tokens["token_type_ids"] = [
                [*before, *[first] * len(a), *between, *[second] * len(b), *after] for a, b in pairs
            ]
        return {name: tokens[name] for name in self.inputs}


class PlannedPairs(CorpusExamples):
    """Pairs as they were planned, fetched a batch at a time.

    Args:
        ids: Tokens of the corpus.
        plan: Two parts an example, and labels.
        frame: The special tokens around them.
        label: The name of the column that the labels are fetched under.
    """

    def __init__(self, ids: NDArray[Any], plan: Plan, *, frame: PairFrame, label: PairLabel) -> None:
        if plan.labels is None:
            raise ValueError("a plan of pairs has labels")
        self.ids = ids
        self.plan = plan
        self.labels = plan.labels
        self.frame = frame
        self.label = label
        self.lengths = plan.sizes + len(frame)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitems__(self, rows: list[int]) -> Rows:
        """The pairs of the given numbers, special tokens around them; what PyTorch's loader asks for."""
        pairs = [[self.ids[part] for part in self.plan.parts(row)] for row in rows]
        return Rows(tokens=self.frame.enclose(pairs), columns={self.label: self.labels[rows]}, numbers=rows)

    def content(self, row: int) -> NDArray[Any]:
        """The tokens of one pair, special ones left out."""
        return np.concatenate([self.ids[part] for part in self.plan.parts(row)])


def read_pair_frame(tokenizer: PreTrainedTokenizerBase) -> PairFrame:
    """What a tokenizer puts around a pair of texts, seen on one.

    Raises:
        CompressError: It puts nothing between them.
    """
    encoded = tokenizer("a", "a", return_special_tokens_mask=True)
    special = encoded.pop("special_tokens_mask")
    types = encoded.get("token_type_ids", [0] * len(special))
    runs = [
        (kind, [place for place, _ in run]) for kind, run in groupby(enumerate(special), lambda pair: pair[1])
    ]
    texts = [number for number, (kind, _) in enumerate(runs) if not kind]
    if len(texts) != 2:
        raise CompressError(
            "The tokenizer puts no special token between two texts, so no pair can be told apart.",
            "Bring a tokenizer that does, as BERT's or RoBERTa's (its post-processor), or a format without pairs.",
        )
    first, second = texts
    around = [runs[:first], runs[first + 1 : second], runs[second + 1 :]]
    places = [[place for _, run in part for place in run] for part in around]
    return PairFrame(
        special=tuple(tuple(encoded["input_ids"][place] for place in part) for part in places),
        special_types=tuple(tuple(types[place] for place in part) for part in places),
        types=(types[runs[first][1][0]], types[runs[second][1][0]]),
        inputs=tuple(encoded),
    )
