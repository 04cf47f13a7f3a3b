"""Tokenizers trained on a corpus: WordPiece for BERT and ELECTRA, unigram for ALBERT, byte-level BPE for RoBERTa.

The `tokenizers` library trains them; each comes out as the class that `transformers` has for its family, with that
family's special tokens, normalization and templates. The same corpus and recipe give the same file, byte for byte,
with any number of threads. The library alone does not promise that, for it goes through words in an order that is
another each time:

- its WordPiece numbers the letters within words as it meets them, and equally frequent pairs are merged by number:
  here every letter is numbered beforehand, and rare characters are taken out of the text, not left to it;
- its unigram trainer adds in that order, so scores differ from the 14th digit on, and characters that no longer need
  a piece of their own share out the least scores as it meets them: here scores are rounded, those characters all
  have the least one, and pieces of equal score are in the order of their letters;
- its byte-level BPE begins with all 256 bytes in a fixed order, and depends on nothing else.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.normalizers import Normalizer
from transformers import AlbertTokenizer, BertTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from compress.data.corpus import Corpus
from compress.data.documents import LONGEST_LINE, split_lines
from compress.data.keeping import About, keep_files
from compress.encoder import load_tokenizer
from compress.errors import InvalidInputError
from compress.recipes.pretraining import TokenizerKind, TokenizerRecipe
from compress.runs import TOKENIZER_CACHE, content_key

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of what lies in the cache; another number makes every tokenizer be trained anew."""
FILES = ("tokenizer.json", "tokenizer_config.json")

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALBERT_SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""The first of RoBERTa's pieces; its mask is the last."""
ROBERTA_MASK = "<mask>"
WORD_MARK = "▁"
"""What stands for the space before a word (sentencepiece)."""

ONE_KIND = rf"{WORD_MARK}?(?:[\p{{L}}\p{{M}}]+|\p{{N}}+|[^\p{{L}}\p{{M}}\p{{N}}{WORD_MARK}]+)"
"""No unigram piece holds letters and other characters, as sentencepiece has it: `life.` is two."""
ASCII = "".join(map(chr, range(33, 127)))
"""Characters that no alphabet lacks: what is not in the corpus may be in a task."""
COVERAGE = 0.9999
"""The share of a corpus's characters that its alphabet covers; the rarest are unknown."""
MIN_FREQUENCY = 2
"""How often a pair of pieces occurs that WordPiece and BPE merge."""
DIGITS = 4
"""Of a unigram piece's log probability that are kept."""
LEAST_STEP = 1e-4
"""By how much scores differ that the unigram trainer gives to characters which have lost theirs."""


class AboutTokenizer(About):
    """What a trained tokenizer is."""

    recipe: TokenizerRecipe
    vocab_size: int


def train_tokenizer(corpus: Corpus, recipe: TokenizerRecipe, *, store: Path) -> PreTrainedTokenizerFast:
    """Train a tokenizer on a corpus.

    What is whole in the cache is taken, what is not is made; a second process that wants the same waits for the
    first. Memory grows with the corpus's different words, not with its length.

    Args:
        corpus: Its documents.
        recipe: What kind of tokenizer, and how large.
        store: The directory of runs; the cache lies in it.

    Returns:
        A BertTokenizer, an AlbertTokenizer or a RobertaTokenizer; a smaller one than was asked for where the corpus
        gives no more pieces.

    Raises:
        InvalidInputError: The vocabulary has no room for special tokens and alphabet, a file cannot be read, or there
            is no text in it.
        CompressError: The cache cannot be written.
    """
    if recipe.kind == "byte-bpe":
        _require_room(recipe, len(ROBERTA_SPECIAL) + 1, len(pre_tokenizers.ByteLevel.alphabet()), "bytes")
    folder = store / TOKENIZER_CACHE / tokenizer_key(corpus, recipe)
    build = partial(_build, folder, corpus, recipe)
    what, busy = "trained tokenizer", "trains the tokenizer"
    keep_files(folder, FILES, about=AboutTokenizer, build=build, what=what, busy=busy)
    return cast(PreTrainedTokenizerFast, load_tokenizer(folder))


def tokenizer_key(corpus: Corpus, recipe: TokenizerRecipe) -> str:
    """A hash over the documents, the recipe and the libraries that make a tokenizer of them."""
    versions = (tokenizers.__version__, transformers.__version__)
    return content_key(
        {
            "format": FORMAT,
            "corpus": corpus.fingerprint,
            "recipe": recipe.model_dump(mode="json"),
            "rules": [COVERAGE, MIN_FREQUENCY, DIGITS, LONGEST_LINE],
            "versions": [version.split(".")[:2] for version in versions],
        }
    )


def choose_alphabet(counts: Mapping[str, int], *, always: Iterable[str] = ()) -> list[str]:
    """The most frequent characters of a text until they cover it, in the order of their code points.

    Args:
        counts: How often each character occurs; spaces and what cannot be printed are left out.
        always: Characters that are in it however rare they are.
    """
    letters = {character: count for character, count in counts.items() if _is_letter(character)}
    total, covered, chosen = sum(letters.values()), 0, set(always)
    for character, count in sorted(letters.items(), key=lambda item: (-item[1], item[0])):
        if covered >= COVERAGE * total:
            break
        chosen.add(character)
        covered += count
    return sorted(chosen)


def train_wordpiece(corpus: Corpus, recipe: TokenizerRecipe) -> BertTokenizer:
    """WordPiece as BERT and ELECTRA have it: `[CLS] A [SEP] B [SEP]`, token types 0 and 1."""
    parts = BertTokenizer(do_lower_case=recipe.lowercase).backend_tokenizer
    counts = _count_characters(corpus, parts.normalizer)
    alphabet = choose_alphabet(counts, always=parts.normalizer.normalize_str(ASCII))
    within = [f"##{character}" for character in alphabet if _goes_within_words(character, parts)]
    first = [*BERT_SPECIAL, *alphabet, *within]
    _require_room(recipe, len(BERT_SPECIAL), len(alphabet) + len(within), "first and later letters of words")
    core = Tokenizer(models.WordPiece(unk_token=BERT_SPECIAL[1]))
    core.pre_tokenizer = parts.pre_tokenizer
    core.train_from_iterator(
        _plain_lines(corpus, alphabet, parts.normalizer),
        trainers.WordPieceTrainer(
            vocab_size=recipe.vocab_size,
            min_frequency=MIN_FREQUENCY,
            special_tokens=first,  # they are numbered first, in this order
            show_progress=False,
        ),
    )
    return BertTokenizer(vocab=core.get_vocab(with_added_tokens=False), do_lower_case=recipe.lowercase)


def train_unigram(corpus: Corpus, recipe: TokenizerRecipe) -> AlbertTokenizer:
    """A unigram model as ALBERT has it: `[CLS] A [SEP] B [SEP]`, token types 0 and 1, `▁` before each word."""
    parts = AlbertTokenizer(
        do_lower_case=recipe.lowercase, keep_accents=not recipe.lowercase
    ).backend_tokenizer
    counts = _count_characters(corpus, parts.normalizer)
    alphabet = choose_alphabet(counts, always=parts.normalizer.normalize_str(ASCII))
    characters = {WORD_MARK, *alphabet}
    _require_room(recipe, len(ALBERT_SPECIAL), len(characters), "characters")
    unseen = characters - counts.keys() - {WORD_MARK}
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [parts.pre_tokenizer, pre_tokenizers.Split(Regex(ONE_KIND), "isolated")]
    )
    core.train_from_iterator(
        _plain_lines(corpus, alphabet, parts.normalizer),
        trainers.UnigramTrainer(
            vocab_size=recipe.vocab_size - len(unseen),
            special_tokens=list(ALBERT_SPECIAL),
            unk_token=ALBERT_SPECIAL[1],
            show_progress=False,
        ),
    )
    trained = dict(json.loads(core.to_str())["model"]["vocab"][len(ALBERT_SPECIAL) :])
    pieces = rank_pieces(trained, characters, room=recipe.vocab_size - len(ALBERT_SPECIAL))
    return AlbertTokenizer(
        vocab=[*((token, 0.0) for token in ALBERT_SPECIAL), *pieces],
        do_lower_case=recipe.lowercase,
        keep_accents=not recipe.lowercase,
        mask_token=_open_to_the_left("[MASK]"),  # type: ignore[arg-type]
        model_input_names=BertTokenizer.model_input_names,  # as published; this class leaves token types out
    )


def rank_pieces(
    trained: Mapping[str, float], characters: Iterable[str], *, room: int
) -> list[tuple[str, float]]:
    """A unigram vocabulary without what is chance in it: all characters and the likeliest other pieces.

    Args:
        trained: Log probabilities as the trainer gives them; not all characters need to be there.
        characters: Must be in, and have the least score where the trainer has none or an arbitrary one for them.
        room: How many pieces there may be.

    Returns:
        Pieces and their log probabilities, the likeliest first.
    """
    needed = set(characters)
    least = min(trained.values())
    arbitrary = least + LEAST_STEP * len(needed)
    scores = {
        piece: round(least if piece in needed and score <= arbitrary else score, DIGITS)
        for piece, score in {**dict.fromkeys(needed, least), **trained}.items()
    }
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    others = [item for item in ranked if item[0] not in needed][: room - len(needed)]
    kept = needed.union(piece for piece, _ in others)
    return [item for item in ranked if item[0] in kept]


def train_byte_bpe(corpus: Corpus, recipe: TokenizerRecipe) -> RobertaTokenizer:
    """Byte-level BPE as RoBERTa has it: `<s> A </s></s> B </s>`, no token types; decodes to the very text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.train_from_iterator(
        _lines(corpus),
        trainers.BpeTrainer(
            vocab_size=recipe.vocab_size - 1,  # the mask
            min_frequency=MIN_FREQUENCY,
            special_tokens=list(ROBERTA_SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(core.to_str())["model"]
    return RobertaTokenizer(
        vocab={**model["vocab"], ROBERTA_MASK: len(model["vocab"])},
        merges=[tuple(merge) for merge in model["merges"]],  # type: ignore[misc]
        mask_token=_open_to_the_left(ROBERTA_MASK),  # type: ignore[arg-type]
    )


TRAINERS: Mapping[TokenizerKind, Callable[[Corpus, TokenizerRecipe], PreTrainedTokenizerFast]] = {
    "wordpiece": train_wordpiece,
    "unigram": train_unigram,
    "byte-bpe": train_byte_bpe,
}


def _build(folder: Path, corpus: Corpus, recipe: TokenizerRecipe) -> dict[str, Any]:
    logger.info("  training a %s tokenizer on the corpus %s", recipe.kind, corpus.name)
    tokenizer = TRAINERS[recipe.kind](corpus, recipe)
    if len(tokenizer) < recipe.vocab_size:
        logger.warning(
            "  the corpus %s gives %d pieces; %d were asked for",
            corpus.name,
            len(tokenizer),
            recipe.vocab_size,
        )
    tokenizer.save_pretrained(folder)
    return {"corpus": corpus.origin, "recipe": recipe, "vocab_size": len(tokenizer)}


def _require_room(recipe: TokenizerRecipe, special: int, alphabet: int, what: str) -> None:
    if recipe.vocab_size < special + alphabet:
        raise InvalidInputError(
            f"A {recipe.kind} vocabulary of {recipe.vocab_size} pieces has no room for {special} special tokens "
            f"and {alphabet} {what}.",
            f"Set vocab_size to {special + alphabet} or more.",
        )


def _lines(corpus: Corpus) -> Iterator[str]:
    return (line for document in corpus.documents() for line in split_lines(document))


def _count_characters(corpus: Corpus, normalizer: Normalizer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in _lines(corpus):
        counts.update(normalizer.normalize_str(line))
    if not any(map(_is_letter, counts)):
        raise InvalidInputError(
            f"The corpus {corpus.name!r} holds nothing that can be printed.", "Bring a corpus of text."
        )
    return counts


def _plain_lines(corpus: Corpus, alphabet: Iterable[str], normalizer: Normalizer) -> Iterator[str]:
    """The lines of a corpus, normalized; what is not of the alphabet is a space."""
    rare = re.compile(f"[^{re.escape(''.join(alphabet))}]+")
    return (rare.sub(" ", normalizer.normalize_str(line)) for line in _lines(corpus))


def _is_letter(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _goes_within_words(character: str, parts: Tokenizer) -> bool:
    """Whether a character can follow a letter in a word; punctuation and Chinese characters are words of their own."""
    return len(parts.pre_tokenizer.pre_tokenize_str(parts.normalizer.normalize_str(f"a{character}"))) == 1


def _open_to_the_left(mask: str) -> AddedToken:
    """A mask that takes the space on its left with it, as the word would that it hides."""
    return AddedToken(mask, lstrip=True, normalized=False, special=True)
