"""What the pieces of a fast tokenizer need of one another, and the tokenizer without those that go.

A text whose tokens all stay keeps them. What that takes depends on the algorithm:

- WordPiece takes the longest piece first, so one that goes changes only the words that it is a token of. (A word that
  was unknown may find pieces: what was taken before it failed is no token of it.)
- Byte-level BPE merges byte by byte. No merge on the way to a token reaches over its ends, so they are the merges
  that make the piece from its bytes alone, and all that they make must stay. The order of merges is kept.
- Unigram takes the likeliest path (Viterbi), which stays the likeliest of fewer. The least score must stay, for that
  of an unknown character is counted from it.
"""

import json
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

from compress.errors import CompressError, InvalidInputError

ASCII = frozenset(map(chr, range(33, 127)))
"""Characters that stay spelled: what the texts that were counted lack may be in those to come."""
FALLBACK_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""A piece that spells a byte of a character without a piece (sentencepiece's byte fallback)."""

Merge = tuple[str, str]


def read_state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a tokenizer's `tokenizer.json` holds, without the truncation and padding that each call sets anew.

    Raises:
        InvalidInputError: It is no fast tokenizer, or none of WordPiece, byte-level BPE and unigram.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InvalidInputError(
            f"{type(tokenizer).__name__} is a slow tokenizer: it has no tokenizer.json whose pieces could be taken out.",
            "Bring an encoder with a fast tokenizer, such as BERT's, RoBERTa's or ALBERT's.",
        )
    state: dict[str, Any] = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    model = state["model"]
    kind = model["type"]
    if kind == "BPE" and not set(ByteLevel.alphabet()) <= model["vocab"].keys():
        kind = "BPE over characters"
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise InvalidInputError(
            f"{type(tokenizer).__name__} splits words by {kind}, whose pieces cannot be taken out.",
            "Bring an encoder whose tokenizer is WordPiece, byte-level BPE or unigram.",
        )
    return state


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of special and added tokens: they stay, whether a text has them or not."""
    return {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}


def spelling_pieces(model: Mapping[str, Any], used: Iterable[str]) -> set[str]:
    """The pieces that spell a word which has no longer piece.

    Args:
        model: Of `tokenizer.json`.
        used: The pieces that texts use.

    Returns:
        For WordPiece and unigram each character of a used piece and of ASCII (for WordPiece as a word's first and as a
        later one), where it has a piece; for BPE the 256 bytes. For unigram the byte fallback and a piece of the least
        score, too.
    """
    match model["type"]:
        case "WordPiece":
            prefix = model["continuing_subword_prefix"]
            letters = ASCII.union(*(piece.removeprefix(prefix) for piece in used))
            return set(model["vocab"]) & {form for letter in letters for form in (letter, prefix + letter)}
        case "BPE":
            return set(ByteLevel.alphabet())
        case _:
            scores: dict[str, float] = dict(model["vocab"])
            fallback = [
                piece for piece in scores if model["byte_fallback"] and FALLBACK_BYTE.fullmatch(piece)
            ]
            return {min(scores, key=scores.__getitem__), *fallback, *(scores.keys() & ASCII.union(*used))}


def read_merges(model: Mapping[str, Any]) -> dict[Merge, int]:
    """Pairs of pieces that BPE merges, and their ranks; none of another algorithm's."""
    return {(left, right): rank for rank, (left, right) in enumerate(model.get("merges", ()))}


def merged_parts(piece: str, merges: Mapping[Merge, int]) -> set[str]:
    """All that is made on the way from a piece's bytes to the piece, itself among it (Sennrich et al. 2016).

    Args:
        piece: Of a BPE vocabulary.
        merges: Their ranks; the pair of the lowest is merged first, the leftmost of equals.
    """
    parts, made = list(piece), set[str]()
    while pairs := [(merges[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in merges]:
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        made.add(parts[at])
    return made


def order_pieces(tokenizer: PreTrainedTokenizerBase, kept: Collection[int]) -> list[int]:
    """For each new id the old one: as they were, added tokens last.

    The padding token keeps its id where it can, for RoBERTa counts positions from it.

    Args:
        tokenizer: Its special and added tokens are in, whatever is kept.
        kept: Old ids.
    """
    within = {number for piece, number in _vocabulary(read_state(tokenizer)["model"])}
    kept = {*kept, *special_ids(tokenizer)}
    order, added = sorted(kept & within), sorted(kept - within)
    padding = tokenizer.pad_token_id
    if padding in order:
        order.remove(padding)
        order.insert(padding, padding)
    return [*order, *added]


def keep_pieces(tokenizer: PreTrainedTokenizerBase, order: Sequence[int]) -> PreTrainedTokenizerBase:
    """A tokenizer with some of its pieces, as it will be loaded again; the one given stays as it is.

    Args:
        tokenizer: A fast one.
        order: For each new id the old one, as `order_pieces` gives them.

    Raises:
        InvalidInputError: Its algorithm is another.
        CompressError: Its class does not load the pieces that it is given.
    """
    state = read_state(tokenizer)
    numbers = {old: new for new, old in enumerate(order)}
    expected = {piece: numbers[old] for piece, old in tokenizer.get_vocab().items() if old in numbers}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        Path(folder, "tokenizer.json").write_text(json.dumps(_renumbered(state, expected)), encoding="utf-8")
        smaller: PreTrainedTokenizerBase = type(tokenizer).from_pretrained(folder)
    if smaller.get_vocab() != expected:  # the table's rows would be those of other pieces
        raise CompressError(
            f"{type(tokenizer).__name__} numbers {len(expected)} pieces in a way of its own when it is loaded.",
            "Bring a tokenizer whose class loads its tokenizer.json as it is, such as PreTrainedTokenizerFast.",
        )
    return smaller


def _vocabulary(model: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """Pieces and their ids, tokens that were added later left out."""
    if model["type"] == "Unigram":
        return ((piece, number) for number, (piece, _) in enumerate(model["vocab"]))
    return model["vocab"].items()  # type: ignore[no-any-return]


def _renumbered(state: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    """A `tokenizer.json` that holds only the pieces which have a number."""
    added = [{**token, "id": numbers[token["content"]]} for token in state["added_tokens"]]
    return {
        **state,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "model": _renumbered_model(state["model"], numbers),
        "post_processor": _renumbered_template(state["post_processor"], numbers),
    }


def _renumbered_model(model: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    if model["type"] == "Unigram":
        vocab = [entry for entry in model["vocab"] if entry[0] in numbers]
        unknown = model["unk_id"]
        return {
            **model,
            "vocab": sorted(vocab, key=lambda entry: numbers[entry[0]]),
            "unk_id": None if unknown is None else numbers[model["vocab"][unknown][0]],
        }
    kept = {piece: numbers[piece] for piece in model["vocab"] if piece in numbers}
    smaller = {**model, "vocab": kept}
    if model["type"] == "BPE":
        smaller["merges"] = [pair for pair in model["merges"] if {*pair, "".join(pair)} <= kept.keys()]
    return smaller


def _renumbered_template(processor: Any, numbers: Mapping[str, int]) -> Any:
    """The special tokens around a text (or two), by whichever of the library's post-processors."""
    if processor is None:
        return None
    processor = dict(processor)
    for name in ("sep", "cls"):  # BERT's and RoBERTa's own
        if name in processor:
            token, _ = processor[name]
            processor[name] = [token, numbers[token]]
    if "special_tokens" in processor:
        processor["special_tokens"] = {
            name: {**entry, "ids": [numbers[token] for token in entry["tokens"]]}
            for name, entry in processor["special_tokens"].items()
        }
    if "processors" in processor:
        processor["processors"] = [_renumbered_template(each, numbers) for each in processor["processors"]]
    return processor
