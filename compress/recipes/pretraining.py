"""How a teacher is pretrained from nothing: so far, the tokenizer that it reads with."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from compress.recipes.values import Family, Frozen, PositiveInt

TokenizerKind = Literal["wordpiece", "unigram", "byte-bpe"]


class TokenizerRecipe(Frozen):
    """A tokenizer that is trained on the corpus.

    Attributes:
        kind: WordPiece (Devlin et al. 2018), a unigram language model (Kudo 2018), or byte-pair encoding of bytes
            (Radford et al. 2019).
        vocab_size: Pieces, special tokens included; fewer where the corpus gives no more.
        lowercase: Capitals become small letters, and accents go with them, as in the uncased models; otherwise both
            stay. A byte-bpe has no such step.
    """

    kind: TokenizerKind
    vocab_size: PositiveInt
    lowercase: Annotated[bool, Field(strict=True)]

    @model_validator(mode="after")
    def _bytes_keep_their_case(self) -> Self:
        if self.kind == "byte-bpe" and self.lowercase:
            raise ValueError("a byte-bpe tokenizer keeps every byte: set lowercase = false")
        return self


_WORDPIECE = TokenizerRecipe(kind="wordpiece", vocab_size=30_522, lowercase=True)
_PUBLISHED: Mapping[Family, TokenizerRecipe] = {
    "bert": _WORDPIECE,
    "electra": _WORDPIECE,
    "albert": TokenizerRecipe(kind="unigram", vocab_size=30_000, lowercase=True),
    "roberta": TokenizerRecipe(kind="byte-bpe", vocab_size=50_265, lowercase=False),
}


def published_tokenizer(family: Family) -> TokenizerRecipe:
    """The kind and the size of the tokenizer that a family was published with, of its uncased models where it has any."""
    return _PUBLISHED[family]
