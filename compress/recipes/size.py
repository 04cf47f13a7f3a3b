"""How big an architecture is, in closed form: nothing is built, so that listing recipes is instant."""

from compress.recipes.schema import Architecture, Family

BERT_VOCABULARY = 30522
"""Pieces of bert-base's vocabulary: what students' sizes refer to unless a teacher is named."""
TOKEN_TYPES: dict[Family, int] = {"bert": 2, "roberta": 1, "electra": 2, "albert": 2}
"""Rows of the table that tells the texts of a pair apart."""
BYTES_PER_PARAMETER = 4


def count_parameters(
    architecture: Architecture, family: Family, *, vocab_size: int, num_outputs: int = 2
) -> int:
    """Number of parameters of a sequence classifier, a shared layer counted once.

    Args:
        architecture: Its shape.
        family: Decides on the projection out of the embeddings and on the token types.
        vocab_size: Rows of the table of pieces.
        num_outputs: Width of the logits.
    """
    hidden = architecture.hidden_size
    distinct_layers = 1 if architecture.share == "all" else architecture.num_hidden_layers
    # A pooler (BERT, ALBERT) and the dense layer inside a head (RoBERTa, ELECTRA) are of one size.
    classifier = _linear(hidden, hidden) + _linear(hidden, num_outputs)
    return _embeddings(architecture, family, vocab_size) + distinct_layers * _layer(architecture) + classifier


def megabytes(parameters: int) -> float:
    """Size of that many parameters in fp32, in MB (10⁶ bytes)."""
    return parameters * BYTES_PER_PARAMETER / 1e6


def embedding_width(architecture: Architecture) -> int:
    """Width of the embedding tables: E where they are factorized, else H."""
    return architecture.embedding_size or architecture.hidden_size


def _embeddings(shape: Architecture, family: Family, vocab_size: int) -> int:
    width = embedding_width(shape)
    rows = vocab_size + shape.max_position_embeddings + TOKEN_TYPES[family]
    # ALBERT projects even where both widths agree; ELECTRA only where they differ.
    projected = family == "albert" or width != shape.hidden_size
    projection = _linear(width, shape.hidden_size) if projected else 0
    return rows * width + _layer_norm(width) + projection


def _layer(shape: Architecture) -> int:
    hidden, inner = shape.hidden_size, shape.intermediate_size
    attention = 4 * _linear(hidden, hidden) + _layer_norm(hidden)
    feed_forward = _linear(hidden, inner) + _linear(inner, hidden) + _layer_norm(hidden)
    return attention + feed_forward


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _layer_norm(width: int) -> int:
    return 2 * width
