"""What may stand in a word's place: what a masked language model expects there, or what its word table has nearby.

Candidates are pieces that are words by themselves, of the letters a–z in lower case, never the word itself: so a word
that is drawn is replaced. The published code takes the likeliest pieces first and drops the unfit ones of them, which
leaves fewer, and may leave the word as it was.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerBase

from compress.data.augmentation import Candidates, CandidateSource, Word
from compress.data.batching import sort_by_length
from compress.encoder import Encoder, longest_input, model_inputs
from compress.environment import device
from compress.errors import CompressError
from compress.heads import has_mlm_head, load_base, load_masked_lm

BATCH_SIZE = 64
PASSES = 3
WORDS_A_PRODUCT = 512
"""Words that are compared with the whole table at once: 60 MB of cosines with BERT's vocabulary."""


def load_candidates(path: Path, *, count: int, passes: int | None = PASSES) -> CandidateSource:
    """The candidates that a pretrained model gives: from its MLM head, or from its word table if it has none.

    Args:
        path: A directory in Hugging Face format.
        count: Candidates of a word.
        passes: As in `MaskedWords`.

    Raises:
        CompressError: The model cannot be loaded, or its vocabulary has no words of the letters a–z.
    """
    fills = has_mlm_head(path)
    encoder = load_masked_lm(path, seed=0, allow_new_head=False) if fills else load_base(path)
    encoder.model.train(False)
    if len(whole_words(encoder.tokenizer)) < 2:
        raise CompressError(
            f"The vocabulary in {path} has no two whole words of the letters a–z, so nothing can replace a word.",
            "Name another model for the candidates, or switch augmentation off: copies = 0.",
        )
    nearest = NearestWords(encoder, count=count)
    # Places of words in a text are told by fast tokenizers alone.
    if not (fills and encoder.tokenizer.is_fast and encoder.tokenizer.mask_token_id is not None):
        return nearest
    return MaskedWords(encoder, nearest, count=count, passes=passes)


def whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id → word, for each piece that begins a word and is of the letters a–z in lower case, two at the least.

    A single letter is an ending cut off (the s of "it's") more often than a word. WordPiece marks the pieces that go
    on (##), SentencePiece (▁) and byte-level BPE (Ġ) those that begin.
    """
    pieces = tokenizer.get_vocab()
    goes_on = any(piece.startswith("##") for piece in pieces)
    begins = next((mark for mark in "▁Ġ" if any(piece.startswith(mark) for piece in pieces)), "")
    pattern = re.compile(("" if goes_on else begins) + "([a-z]{2,})")
    found = {number: pattern.fullmatch(piece) for piece, number in pieces.items()}
    return {number: match.group(1) for number, match in sorted(found.items()) if match}


class NearestWords:
    """Candidates by cosine in a model's word table: one matrix product for many words, once for each distinct word.

    A word of several pieces is the mean of their rows. The paper takes GloVe's vectors, which know no pieces, for
    words that its MLM would see in pieces, and only for them; where there is no MLM, we take the table for all.

    Args:
        encoder: Its word table and its tokenizer.
        count: Candidates of a word.
    """

    kind: str = "embeddings"

    def __init__(self, encoder: Encoder, *, count: int) -> None:
        layer: Any = encoder.model.get_input_embeddings()
        words = whole_words(encoder.tokenizer)
        self.table: Tensor = layer.weight.detach().float()
        self.tokenizer = encoder.tokenizer
        self.count = min(count, len(words) - 1)
        self._words = list(words.values())
        self._places = {word: place for place, word in enumerate(self._words)}
        self._rows = normalize(self.table[list(words)], dim=1)
        self._known: dict[str, tuple[str, ...]] = {}

    def find(self, texts: Sequence[str], words: Sequence[Mapping[int, Word]]) -> list[Candidates]:
        """Candidates for words, whatever stands around them."""
        del texts
        self._learn({word.text for needed in words for word in needed.values()})
        return [{number: self._known[word.text] for number, word in needed.items()} for needed in words]

    def _learn(self, words: set[str]) -> None:
        new = sorted(words - self._known.keys())
        for start in range(0, len(new), WORDS_A_PRODUCT):
            chunk = new[start : start + WORDS_A_PRODUCT]
            vectors = torch.stack([self._vector(pieces) for pieces in self._pieces(chunk)])
            cosines = normalize(vectors, dim=1) @ self._rows.T
            for row, word in enumerate(chunk):
                if word in self._places:
                    cosines[row, self._places[word]] = -torch.inf
            nearest = cosines.topk(self.count, dim=1).indices.tolist()
            for word, vector, places in zip(chunk, vectors, nearest, strict=True):
                known = bool(vector.any())
                self._known[word] = tuple(self._words[place] for place in places) if known else ()

    def _pieces(self, words: Sequence[str]) -> list[list[int]]:
        # Where pieces that begin a word are marked, a word at the beginning of a text may be taken for the end of one.
        spaced = [f" {word}" for word in words]
        ids: list[list[int]] = self.tokenizer(spaced, add_special_tokens=False)["input_ids"]
        return [[number for number in pieces if number != self.tokenizer.unk_token_id] for pieces in ids]

    def _vector(self, pieces: list[int]) -> Tensor:
        return self.table[pieces].mean(dim=0) if pieces else self.table.new_zeros(self.table.shape[1])


@dataclass(frozen=True)
class Pass:
    """One way through the model: a text of which some words are masked.

    Attributes:
        text: Its number.
        inputs: The model's, by name, each `[L]`.
        masked: Number of a masked word → its place among the tokens.
    """

    text: int
    inputs: dict[str, list[int]]
    masked: dict[int, int]


class MaskedWords:
    """Candidates by what a masked language model expects; nearest words for those that are no single piece.

    As in the published code, the text as it was follows the masked one, as the second of a pair: the model sees what
    was there, and candidates keep its meaning (the paper's Algorithm 1 shows the masked text alone). One pass a word,
    as published, costs hours on a CPU. By default every third word of a text is masked at once, three passes a text
    whatever its length, which is ours: neighbours stay in sight, and all words do, in the second text.

    Args:
        encoder: A masked language model and its tokenizer.
        nearest: For words of several pieces, and those that lie beyond the model's positions.
        count: Candidates of a word.
        passes: Passes a text at the most; None masks one word a pass.
        batch_size: Passes that go through the model together.
    """

    kind: str = "masked-lm"

    def __init__(
        self,
        encoder: Encoder,
        nearest: NearestWords,
        *,
        count: int,
        passes: int | None = PASSES,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.device = device()
        self.model = _place(encoder.model, self.device)
        self.tokenizer = encoder.tokenizer
        self.nearest = nearest
        self.passes = passes
        self.batch_size = batch_size
        self._words = whole_words(self.tokenizer)
        self.count = min(count, len(self._words) - 1)
        self._ids = {word: number for number, word in self._words.items()}
        self._names = model_inputs(self.tokenizer)
        self._max_length = min(self.tokenizer.model_max_length, longest_input(encoder.model.config))

    def find(self, texts: Sequence[str], words: Sequence[Mapping[int, Word]]) -> list[Candidates]:
        """Candidates for words where they stand."""
        places = self._passes(texts, words)
        masked = [set[int]() for _ in texts]
        for each in places:
            masked[each.text] |= each.masked.keys()
        rest = [
            {number: word for number, word in needed.items() if number not in done}
            for needed, done in zip(words, masked, strict=True)
        ]
        found = [dict(candidates) for candidates in self.nearest.find(texts, rest)]
        for rows in sort_by_length(
            [len(each.inputs["input_ids"]) for each in places], batch_size=self.batch_size
        ):
            batch = [places[row] for row in rows]
            own = [words[each.text][number].text for each in batch for number in each.masked]
            homes = [(each.text, number) for each in batch for number in each.masked]
            for (text, number), candidates in zip(homes, self._expect(batch, own), strict=True):
                found[text][number] = candidates
        return list(found)

    def _passes(self, texts: Sequence[str], words: Sequence[Mapping[int, Word]]) -> list[Pass]:
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts),
            list(texts),
            truncation=True,
            max_length=self._max_length,
            return_offsets_mapping=True,
        )
        return [
            each
            for text, needed in enumerate(words)
            for each in self._mask(
                text,
                {name: encoded[name][text] for name in self._names},
                _single_pieces(
                    texts[text], encoded["offset_mapping"][text], encoded.sequence_ids(text), needed
                ),
            )
        ]

    def _mask(self, text: int, inputs: dict[str, list[int]], single: dict[int, int]) -> Iterator[Pass]:
        numbers = sorted(single)
        passes = len(numbers) if self.passes is None else min(self.passes, len(numbers))
        for first in range(passes):
            masked = {number: single[number] for number in numbers[first::passes]}
            ids = list(inputs["input_ids"])
            for place in masked.values():
                ids[place] = self.tokenizer.mask_token_id
            yield Pass(text, {**inputs, "input_ids": ids}, masked)

    def _expect(self, batch: Sequence[Pass], own: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The likeliest words at each masked place of a batch, in order, without the word that stood there."""
        columns = {name: [each.inputs[name] for each in batch] for name in self._names}
        tensors = self.tokenizer.pad(columns, return_tensors="pt").to(self.device)
        rows = torch.tensor([row for row, each in enumerate(batch) for _ in each.masked], device=self.device)
        places = torch.tensor([place for each in batch for place in each.masked.values()], device=self.device)
        logits = _logits_at(self.model, tensors, rows, places)
        allowed = list(self._words)
        scores = torch.full_like(logits, -torch.inf)
        scores[:, allowed] = logits[:, allowed]
        for row, word in enumerate(own):
            if word in self._ids:
                scores[row, self._ids[word]] = -torch.inf
        for ids in scores.topk(self.count, dim=1).indices.tolist():
            yield tuple(self._words[number] for number in ids)


def _single_pieces(
    text: str, offsets: Sequence[tuple[int, int]], sequences: Sequence[int | None], words: Mapping[int, Word]
) -> dict[int, int]:
    """Number of a word → the token in the first text that is the whole of it, for the words that have one."""
    tokens = {}
    for place, ((start, end), sequence) in enumerate(zip(offsets, sequences, strict=True)):
        if sequence == 0:
            # Some tokenizers count the space before a word.
            spaces = len(text[start:end]) - len(text[start:end].lstrip())
            tokens[start + spaces, end] = place
    return {
        number: tokens[word.start, word.end]
        for number, word in words.items()
        if (word.start, word.end) in tokens
    }


def _logits_at(model: Any, inputs: Mapping[str, Tensor], rows: Tensor, places: Tensor) -> Tensor:
    """Logits `[M, V]` at some places only: the product with the vocabulary costs as much as a small encoder."""
    decoder = model.get_output_embeddings()
    hook = decoder.register_forward_pre_hook(lambda _, hidden: (hidden[0][rows, places],))
    try:
        with torch.inference_mode():
            return model(**inputs).logits.float()  # type: ignore[no-any-return]
    finally:
        hook.remove()


def _place(model: torch.nn.Module, where: str) -> torch.nn.Module:
    return model.to(where).eval()
