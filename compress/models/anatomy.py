"""Where an encoder keeps its weights: one reading of BERT, RoBERTa, ELECTRA and ALBERT."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.errors import InvalidInputError


@dataclass(frozen=True)
class Attention:
    """The four linear maps of a layer's self-attention."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear


@dataclass(frozen=True)
class FeedForward:
    """The two linear maps of a layer's feed-forward network."""

    inner: nn.Linear
    outer: nn.Linear


@dataclass(frozen=True)
class Layer:
    """One use of a layer. Layers that share parameters hold the same modules."""

    attention: Attention
    attention_norm: nn.LayerNorm
    feed_forward: FeedForward
    output_norm: nn.LayerNorm


@dataclass(frozen=True)
class Tables:
    """The three embedding tables, and what follows them up to the first hidden state.

    Attributes:
        word: Its weight is `[V, E]`.
        position: `[P, E]`; RoBERTa's first token does not have row 0, but row `first_position`.
        token_type: `[T, E]`.
        norm: Of width E.
        projection: From E to H; None where the tables are as wide as the layers (E = H).
        first_position: The row of the first token.
    """

    word: nn.Embedding
    position: nn.Embedding
    token_type: nn.Embedding
    norm: nn.LayerNorm
    projection: nn.Linear | None
    first_position: int


@dataclass(frozen=True)
class Anatomy:
    """An encoder's parts: the model's own modules, not copies.

    `blocks` says for each layer which distinct block it is a use of, counted from 0.
    """

    tables: Tables
    layers: tuple[Layer, ...]
    blocks: tuple[int, ...]
    pooler: nn.Linear | None
    num_heads: int
    hidden_size: int


def read_anatomy(model: PreTrainedModel) -> Anatomy:
    """The parts of an encoder, with or without a head.

    Raises:
        InvalidInputError: It is built otherwise than the four families.
    """
    base: Any = model.base_model
    encoder: Any = getattr(base, "encoder", None)
    if hasattr(encoder, "albert_layer_groups"):
        layers, blocks = _albert_layers(base)
        projection = base.encoder.embedding_hidden_mapping_in
    elif hasattr(encoder, "layer") and hasattr(encoder.layer[0], "attention"):
        layers = tuple(_bert_layer(layer) for layer in encoder.layer)
        blocks = tuple(range(len(layers)))
        projection = getattr(base, "embeddings_project", None)
    else:
        raise InvalidInputError(
            f"A {model.config.model_type!r} model cannot start a student: its layers are built in a way of their own.",
            'Take a BERT, RoBERTa, ELECTRA or ALBERT teacher, or set initialize = "random" in the student.',
        )
    return Anatomy(
        tables=_tables(base.embeddings, projection),
        layers=layers,
        blocks=blocks,
        pooler=_pooler(base),
        num_heads=model.config.num_attention_heads,
        hidden_size=model.config.hidden_size,
    )


def read_affine(module: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias, detached."""
    return module.weight.detach(), module.bias.detach()


def _albert_layers(base: Any) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
    groups = base.encoder.albert_layer_groups
    uses = base.config.num_hidden_layers
    modules = [layer for use in range(uses) for layer in groups[use * len(groups) // uses].albert_layers]
    distinct = list(dict.fromkeys(modules))
    return tuple(_albert_layer(layer) for layer in modules), tuple(map(distinct.index, modules))


def _albert_layer(layer: Any) -> Layer:
    inside = layer.attention
    return Layer(
        attention=Attention(inside.query, inside.key, inside.value, inside.dense),
        attention_norm=inside.LayerNorm,
        feed_forward=FeedForward(layer.ffn, layer.ffn_output),
        output_norm=layer.full_layer_layer_norm,
    )


def _bert_layer(layer: Any) -> Layer:
    inside, output = layer.attention.self, layer.attention.output
    return Layer(
        attention=Attention(inside.query, inside.key, inside.value, output.dense),
        attention_norm=output.LayerNorm,
        feed_forward=FeedForward(layer.intermediate.dense, layer.output.dense),
        output_norm=layer.output.LayerNorm,
    )


def _tables(embeddings: Any, projection: nn.Linear | None) -> Tables:
    padding = embeddings.position_embeddings.padding_idx
    return Tables(
        word=embeddings.word_embeddings,
        position=embeddings.position_embeddings,
        token_type=embeddings.token_type_embeddings,
        norm=embeddings.LayerNorm,
        projection=projection,
        first_position=0 if padding is None else padding + 1,
    )


def _pooler(base: Any) -> nn.Linear | None:
    pooler = getattr(base, "pooler", None)
    return pooler if pooler is None or isinstance(pooler, nn.Linear) else pooler.dense
