"""A corpus in sentences as the inputs of pretraining, in the format that a model's objective asks for."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.batching import CorpusExamples, Rows
from compress.data.formats import Plan, plan_doc_sentences, plan_full_sentences
from compress.data.pairing import plan_segment_pairs, plan_sentence_orders, plan_sentence_pairs
from compress.data.pairs import PairLabel, PlannedPairs, read_pair_frame
from compress.data.sentences import Sentences
from compress.data.sequences import Frame, read_frame
from compress.errors import CompressError
from compress.recipes.pretraining import Arrangement

PAIRED: dict[Arrangement, tuple[Callable[..., Plan], PairLabel]] = {
    "segment-pairs": (plan_segment_pairs, "next_sentence_label"),
    "sentence-pairs": (plan_sentence_pairs, "next_sentence_label"),
    "sentence-orders": (plan_sentence_orders, "sentence_order_label"),
}
PACKED: dict[Arrangement, Callable[..., Plan]] = {
    "full-sentences": plan_full_sentences,
    "doc-sentences": plan_doc_sentences,
}


class PackedSentences(CorpusExamples):
    """Sentences packed as they were planned, fetched a batch at a time.

    Args:
        ids: Tokens of the corpus.
        plan: A part for each document that an example has something of.
        frame: The special tokens around an example.
        separator: The token between two documents.
    """

    def __init__(self, ids: NDArray[Any], plan: Plan, *, frame: Frame, separator: int) -> None:
        self.ids = ids
        self.plan = plan
        self.frame = frame
        self.separator = separator
        self.lengths = plan.sizes + np.diff(plan.offsets) - 1 + len(frame)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitems__(self, rows: list[int]) -> Rows:
        """The examples of the given numbers, special tokens around them; what PyTorch's loader asks for."""
        return Rows(tokens=self.frame.enclose(map(self._separate, rows)), columns={}, numbers=rows)

    def content(self, row: int) -> NDArray[Any]:
        """The tokens of one example, special ones left out."""
        return np.concatenate([self.ids[part] for part in self.plan.parts(row)])

    def _separate(self, row: int) -> NDArray[Any]:
        first, *others = self.plan.parts(row)
        between = np.array([self.separator], dtype=self.ids.dtype)
        return np.concatenate(
            [self.ids[first], *(part for other in others for part in (between, self.ids[other]))]
        )


def arrange_sentences(
    sentences: Sentences,
    tokenizer: PreTrainedTokenizerBase,
    *,
    arrangement: Arrangement,
    max_length: int,
    seed: int,
    copies: int = 1,
) -> CorpusExamples:
    """Make examples of a corpus; where some are to be held out, part its sentences first (`hold_out_documents`).

    Args:
        sentences: The corpus, or a view of some of its documents; random segments are drawn from this view alone.
        tokenizer: The one that it was tokenized with.
        arrangement: The format.
        max_length: Of an example, special tokens included.
        seed: Of what is drawn.
        copies: How often the corpus is gone through, cut and paired anew each time.

    Raises:
        InvalidInputError: `max_length` leaves no room for text, or the documents cannot be paired.
        CompressError: The tokenizer has no token that separates texts.
    """
    generator = np.random.default_rng([seed, len(sentences)])
    table = partial(_plan, sentences, generator=generator, copies=copies)
    if arrangement in PAIRED:
        plan, label = PAIRED[arrangement]
        pair_frame = read_pair_frame(tokenizer)
        planned = table(plan, room=max_length - len(pair_frame))
        return PlannedPairs(sentences.ids, planned, frame=pair_frame, label=label)
    if tokenizer.sep_token_id is None:
        raise CompressError(
            "The tokenizer has no token that separates documents.",
            'Name one in tokenizer_config.json, such as "sep_token": "[SEP]".',
        )
    frame = read_frame(tokenizer)
    planned = table(PACKED[arrangement], room=max_length - len(frame))
    return PackedSentences(sentences.ids, planned, frame=frame, separator=tokenizer.sep_token_id)


def _plan(
    sentences: Sentences,
    plan: Callable[..., Plan],
    *,
    room: int,
    generator: np.random.Generator,
    copies: int,
) -> Plan:
    return plan(sentences.offsets, sentences.documents, room=room, generator=generator, copies=copies)
