"""Vocabulary pruning: the pieces that texts use, or the most used of them; tokenizer and tables change together.

A text whose tokens all stay has the same tokens and the same logits as before. `pieces` says why.
"""

import copy
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from compress.data.corpus import Corpus
from compress.data.tokenizing import tokenize_texts
from compress.encoder import COUNTED_FROM_PADDING, Encoder
from compress.errors import InvalidInputError
from compress.pruning.pieces import (
    keep_pieces,
    merged_parts,
    order_pieces,
    read_merges,
    read_state,
    special_ids,
    spelling_pieces,
)


def count_pieces(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Counter[int]:
    """How often texts use each piece, special tokens around them left out.

    Args:
        texts: Both sentences of a pair are texts of their own.
        tokenizer: Cuts no text short.

    Returns:
        Id → count.

    Raises:
        InvalidInputError: There are no texts, or nothing is in them.
    """
    counts: Counter[int] = Counter()
    for _, tokens in tokenize_texts(enumerate(texts), tokenizer):
        counts.update(tokens)
    if not counts:
        raise InvalidInputError(
            "There is no text whose pieces could be counted, so none could be kept.",
            "Bring texts such as those that the model will read: a task's train split, or a corpus.",
        )
    return counts


def count_corpus(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> Counter[int]:
    """`count_pieces` of a corpus's documents: a plan's counts are there when the work asks for them.

    Raises:
        InvalidInputError: The tokenizer is a slow one, or its algorithm another.
    """
    return Counter(
        _count_once(_Counting(corpus.fingerprint, json.dumps(read_state(tokenizer)), corpus, tokenizer))
    )


@dataclass(frozen=True)
class _Counting:
    """Documents and a tokenizer; the same ones by what is in them."""

    fingerprint: str
    state: str
    corpus: Corpus = field(compare=False)
    tokenizer: PreTrainedTokenizerBase = field(compare=False)


@lru_cache(maxsize=1)
def _count_once(asked: _Counting) -> Counter[int]:
    return count_pieces(asked.corpus.documents(), asked.tokenizer)


def choose_pieces(
    counts: Mapping[int, int], tokenizer: PreTrainedTokenizerBase, *, keep: int | None
) -> frozenset[int]:
    """The pieces to keep: what always has to be there, then the most used and what they are made of.

    Always there are special and added tokens, and what spells any word of the used pieces' characters or of ASCII
    (`spelling_pieces`). Of equally used pieces the lowest ids come first, for ids rise as pieces get rarer. A BPE piece
    whose parts find no room gives way to the next.

    Args:
        counts: By `count_pieces`.
        tokenizer: That they are of.
        keep: How many pieces; None keeps those that are used.

    Returns:
        Their ids, exactly as many as asked for.

    Raises:
        InvalidInputError: So few cannot spell the texts, or there are not so many; the tokenizer's algorithm is
            another.
    """
    model = read_state(tokenizer)["model"]
    merges, numbers = read_merges(model), tokenizer.get_vocab()
    pieces = {number: piece for piece, number in numbers.items()}
    special = special_ids(tokenizer)
    spelling = spelling_pieces(model, (pieces[number] for number in counts.keys() - special))
    kept = special | {numbers[piece] for piece in spelling}
    if keep is not None:
        _require_room(keep, special=len(special), spelling=len(kept) - len(special), total=len(pieces))
    room = len(pieces) if keep is None else keep
    candidates = {*(counts if keep is None else pieces)} - kept
    for number in sorted(candidates, key=lambda number: (-counts.get(number, 0), number)):
        chain = {number, *(numbers[part] for part in merged_parts(pieces[number], merges))} - kept
        if len(kept) + len(chain) <= room:
            kept |= chain
        if len(kept) == room:
            break
    return frozenset(kept)


def prune_vocabulary(encoder: Encoder, kept: Collection[int]) -> Encoder:
    """An encoder that knows only some pieces; the one given stays as it is.

    Ids keep their order, and the special ones, which come first, mostly themselves. Every table and bias with a row a
    piece is cut, an MLM head's too; what was shared stays shared.

    Args:
        encoder: With or without a head.
        kept: Ids of its tokenizer, by `choose_pieces`.

    Raises:
        InvalidInputError: The tokenizer is a slow one, or its algorithm another; or too few pieces are kept for the
            padding token to keep its id in a model that counts positions from it.
        CompressError: The tokenizer's class does not load the pieces that it is given.
    """
    order = order_pieces(encoder.tokenizer, kept)
    numbers = {old: new for new, old in enumerate(order)}
    _require_same_positions(encoder.model.config, numbers)
    tokenizer = keep_pieces(encoder.tokenizer, order)
    model = copy.deepcopy(encoder.model)
    _cut_rows(model, order)
    _renumber_special(model.config, numbers)
    return Encoder(model, tokenizer)


def tokens_changed(
    texts: Iterable[str], before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase
) -> float:
    """The share of a tokenizer's tokens that another does not find: the same piece at the same place in the text.

    Args:
        texts: Both sentences of a pair are texts of their own.
        before: A fast tokenizer, whose tokens count.
        after: Another.

    Returns:
        From 0 to 1.

    Raises:
        InvalidInputError: There are no texts, or nothing is in them.
    """
    texts = list(texts)
    total = lost = 0
    for old, new in zip(_placed_pieces(texts, before), _placed_pieces(texts, after), strict=True):
        total += old.total()
        lost += (old - new).total()
    if not total:
        raise InvalidInputError(
            "There is no text whose tokens could be compared.",
            "Bring texts, such as a task's validation split.",
        )
    return lost / total


def _placed_pieces(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[Counter[tuple[tuple[int, int], str]]]:
    if not texts:
        return []
    found = tokenizer(list(texts), add_special_tokens=False, verbose=False).encodings or ()
    # By their ids: a unigram's unknown token calls itself by what it stands for.
    return [
        Counter(zip(each.offsets, tokenizer.convert_ids_to_tokens(each.ids), strict=True)) for each in found
    ]


def _require_room(keep: int, *, special: int, spelling: int, total: int) -> None:
    least = special + spelling
    if keep < least:
        raise InvalidInputError(
            f"A vocabulary of {keep} pieces has no room for {special} special tokens and {spelling} pieces that spell "
            "whatever has no longer piece.",
            f"Keep {least} or more: --vocabulary {least}",
        )
    if keep > total:
        raise InvalidInputError(
            f"{keep} pieces are to be kept of a vocabulary that has {total}.",
            f"Keep between {least} and {total} of them, or leave --vocabulary out.",
        )


def _require_same_positions(config: PretrainedConfig, numbers: Mapping[int, int]) -> None:
    padding: Any = getattr(config, "pad_token_id", None)
    if config.model_type in COUNTED_FROM_PADDING and numbers.get(padding) != padding:
        raise InvalidInputError(
            f"A {config.model_type!r} model counts positions from its padding id, {padding}, "
            f"which would be {numbers.get(padding)} among {len(numbers)} pieces.",
            f"Keep more than {padding} pieces, and a tokenizer whose padding token has that id.",
        )


def _cut_rows(model: PreTrainedModel, order: Sequence[int]) -> None:
    named = dict(model.named_parameters(remove_duplicate=False))
    names = [name for name in _rows_by_piece(model) if name in named]
    for parameter in {named[name] for name in names}:  # a shared one is cut once, for all its uses
        parameter.data = parameter.data[torch.tensor(order, device=parameter.device)]
    for name in names:
        match model.get_submodule(name.rpartition(".")[0]):
            case nn.Embedding() as table:
                table.num_embeddings = len(order)
                table.padding_idx = order.index(table.padding_idx) if table.padding_idx in order else None
            case nn.Linear() as head:
                head.out_features = len(order)


def _rows_by_piece(model: PreTrainedModel) -> list[str]:
    """Names of the parameters with a row a piece: those that another vocabulary size would make another shape."""
    config = copy.deepcopy(model.config)
    config.vocab_size += 1
    with torch.device("meta"):
        larger = dict(type(model)(config).named_parameters(remove_duplicate=False))
    return [
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name in larger and larger[name].shape != parameter.shape
    ]


def _renumber_special(config: PretrainedConfig, numbers: Mapping[int, int]) -> None:
    """The new vocabulary size and special ids; one that no piece had any more is None."""
    config.vocab_size = len(numbers)
    for name, number in list(vars(config).items()):
        if name.endswith("_token_id") and isinstance(number, int):
            setattr(config, name, numbers.get(number))
