"""The distinct texts of some sets of examples, and where each example's text is among them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.data.batching import Examples, Rows, Selection

ROW = "state_row"
"""The column of a batch that says where its texts' states lie, `[B]`."""
FINGERPRINTED = 1024
"""Texts that are fetched together to be hashed."""


@dataclass(frozen=True)
class Pool:
    """The distinct texts of some sets of examples, shortest first, equally long ones in the order of their hashes.

    Attributes:
        sets: Where the texts are.
        homes: For each text one of the sets, by its number, and its row there.
        places: For each set that was asked for the numbers of its rows' texts, `[N]`.
        lengths: Tokens of each text.
        fingerprint: A hash over all texts' tokens.
    """

    sets: tuple[Examples, ...]
    homes: Sequence[tuple[int, int]]
    places: tuple[NDArray[np.int64], ...]
    lengths: NDArray[np.int64]
    fingerprint: str

    def fetch(self, texts: range) -> Rows:
        """The tokens of some texts."""
        tokens = [self.sets[home][row].tokens for home, row in (self.homes[text] for text in texts)]
        return Rows(tokens={name: [each[name][0] for each in tokens] for name in tokens[0]}, columns={})


def find_wholes(*sets: Examples) -> tuple[Examples, ...]:
    """The sets that some sets are selections of, or are themselves, each once."""
    wholes = [each.whole if isinstance(each, Selection) else each for each in sets]
    return tuple({id(whole): whole for whole in wholes}.values())


def pool_texts(*sets: Examples) -> Pool:
    """Bring the texts of several sets together, each once; of a selection all that it was made from.

    So the pool does not depend on which rows a seed holds out.
    """
    wholes = find_wholes(*sets)
    prints = {id(whole): _fingerprint(whole) for whole in wholes}
    homes: dict[bytes, tuple[int, int]] = {}
    for number, whole in enumerate(wholes):
        for row, text in enumerate(prints[id(whole)]):
            homes.setdefault(text, (number, row))
    ordered = sorted(homes)
    turns = {text: turn for turn, text in enumerate(ordered)}
    found = {
        name: np.array([turns[text] for text in texts], dtype=np.int64) for name, texts in prints.items()
    }
    return Pool(
        sets=wholes,
        homes=[homes[text] for text in ordered],
        places=tuple(
            found[id(each.whole)][each.rows] if isinstance(each, Selection) else found[id(each)]
            for each in sets
        ),
        lengths=np.array([int.from_bytes(text[:4]) for text in ordered], dtype=np.int64),
        fingerprint=hashlib.sha256(b"".join(ordered)).hexdigest(),
    )


def _fingerprint(examples: Examples) -> list[bytes]:
    """Of each text its length, then a hash over all that a model is given of it: sorted, the shortest come first."""
    found = []
    for start in range(0, len(examples), FINGERPRINTED):
        rows = list(range(start, min(start + FINGERPRINTED, len(examples))))
        tokens = examples.__getitems__(rows).tokens
        for place in range(len(rows)):
            digest = hashlib.blake2b(digest_size=16)
            for name in sorted(tokens):
                digest.update(name.encode() + np.asarray(tokens[name][place], dtype=np.int64).tobytes())
            found.append(len(tokens["input_ids"][place]).to_bytes(4) + digest.digest())
    return found
