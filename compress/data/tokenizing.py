"""Texts of documents as tokens, many at a time: how fast tokenizers are fast, and memory stays bounded."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

CHUNK = 1 << 20
"""Characters that are tokenized together."""


def tokenize_texts(
    texts: Iterable[tuple[int, str]], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[int, list[int]]]:
    """The tokens of each text, special ones left out, beside the number of the document that it came with."""
    for chunk in _chunks(texts):
        encoded = tokenizer(
            [text for _, text in chunk],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        yield from zip((number for number, _ in chunk), encoded["input_ids"], strict=True)


def tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """All of a tokenizer that decides tokens, for a key: a value of JSON."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    if backend is not None:  # set anew by each call, and no part of what a tokenizer is
        state |= {"truncation": None, "padding": None}
    return [type(tokenizer).__name__, state, tokenizer.all_special_ids]


def smallest_type(tokenizer: PreTrainedTokenizerBase) -> type[np.uint16] | type[np.int32]:
    """The type of numbers that takes the least room for a tokenizer's tokens."""
    largest = max(tokenizer.get_vocab().values(), default=0)
    return np.uint16 if largest < 1 << 16 else np.int32


def _chunks(texts: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    chunk: list[tuple[int, str]] = []
    characters = 0
    for number, text in texts:
        chunk.append((number, text))
        characters += len(text)
        if characters >= CHUNK:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
