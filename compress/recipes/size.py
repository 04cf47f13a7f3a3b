"""How big an architecture is, and what it computes, in closed form: nothing is built, so that listing is instant."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from compress.recipes.schema import Architecture
from compress.recipes.values import Family

BERT_VOCABULARY = 30522
"""Pieces of bert-base's vocabulary: what students' sizes refer to unless a teacher is named."""
TOKEN_TYPES: dict[Family, int] = {"bert": 2, "roberta": 1, "electra": 2, "albert": 2}
"""Rows of the table that tells the texts of a pair apart."""
BYTES_PER_PARAMETER = {"fp32": 4, "fp16": 2, "int8": 1}
"""For int8 an estimate: scales, and vectors that stay in fp32, add a few per cent."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of a sequence classifier by part, what is shared counted once.

    Attributes:
        word_table: A row a piece of the vocabulary.
        positions: The tables of positions and token types, and the norm over the sum of all three.
        projection: From the width of the tables to that of the layers.
        attention: Of all layers, with its norm.
        ffn: The feed-forward networks of all layers, with theirs.
        head: Pooler, or the dense layer in its place, and classifier.
    """

    word_table: int
    positions: int
    projection: int
    attention: int
    ffn: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(value for _, value in self.parts())

    def parts(self) -> Iterator[tuple[str, int]]:
        """Each part's name and number."""
        yield from asdict(self).items()


def list_parameters(
    architecture: Architecture, family: Family, *, vocab_size: int, num_outputs: int = 2
) -> Parameters:
    """Number of parameters of a sequence classifier, part by part.

    Args:
        architecture: Its shape.
        family: Decides on the projection out of the embeddings and on the token types.
        vocab_size: Rows of the table of pieces.
        num_outputs: Width of the logits.
    """
    hidden, inner, width = (
        architecture.hidden_size,
        architecture.intermediate_size,
        embedding_width(architecture),
    )
    attentions, ffns = count_distinct(architecture)
    return Parameters(
        word_table=vocab_size * width,
        positions=(architecture.max_position_embeddings + TOKEN_TYPES[family]) * width + _layer_norm(width),
        projection=_linear(width, hidden) if _is_projected(architecture, family) else 0,
        attention=attentions * (4 * _linear(hidden, hidden) + _layer_norm(hidden)),
        ffn=ffns * (_linear(hidden, inner) + _linear(inner, hidden) + _layer_norm(hidden)),
        # A pooler (BERT, ALBERT) and the dense layer inside a head (RoBERTa, ELECTRA) are of one size.
        head=_linear(hidden, hidden) + _linear(hidden, num_outputs),
    )


def count_parameters(
    architecture: Architecture, family: Family, *, vocab_size: int, num_outputs: int = 2
) -> int:
    """Number of parameters of a sequence classifier, a shared tensor counted once; arguments as above."""
    return list_parameters(architecture, family, vocab_size=vocab_size, num_outputs=num_outputs).total


def count_operations(
    architecture: Architecture, family: Family, *, batch: int, length: int, num_outputs: int = 2
) -> int:
    """Floating-point operations of one forward pass, as `compress.flops.count_flops` counts them on the model.

    A layer that is shared counts each time it is used: sharing saves parameters and no time.

    Args:
        architecture: Its shape.
        family: Decides on the projection out of the embeddings.
        batch: Texts.
        length: Tokens of each text, special ones included.
        num_outputs: Width of the logits.
    """
    hidden, inner = architecture.hidden_size, architecture.intermediate_size
    projections = 4 * hidden * hidden + 2 * hidden * inner
    scores_and_values = 2 * length * hidden
    a_token = architecture.num_hidden_layers * (projections + scores_and_values)
    if _is_projected(architecture, family):
        a_token += embedding_width(architecture) * hidden
    head = hidden * hidden + hidden * num_outputs  # at the first token
    return 2 * batch * (length * a_token + head)


def count_distinct(architecture: Architecture) -> tuple[int, int]:
    """How many different attentions and feed-forward networks the layers have."""
    layers = architecture.num_hidden_layers
    match architecture.share:
        case "all":
            return architecture.num_hidden_groups, architecture.num_hidden_groups
        case "attention":
            return 1, layers
        case "ffn":
            return layers, 1
        case "none":
            return layers, layers


def megabytes(parameters: int, *, precision: str = "fp32") -> float:
    """Size of that many parameters, in MB (10⁶ bytes).

    Args:
        parameters: How many.
        precision: A key of `BYTES_PER_PARAMETER`.
    """
    return parameters * BYTES_PER_PARAMETER[precision] / 1e6


def embedding_width(architecture: Architecture) -> int:
    """Width of the embedding tables: E where they are factorized, else H."""
    return architecture.embedding_size or architecture.hidden_size


def _is_projected(shape: Architecture, family: Family) -> bool:
    """ALBERT projects even where both widths agree; ELECTRA only where they differ."""
    return family == "albert" or embedding_width(shape) != shape.hidden_size


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _layer_norm(width: int) -> int:
    return 2 * width
