"""What happens inside a model: hidden states, attention scores, queries, keys and values, where a term asks for them.

Attention is read by a function registered with `transformers`, not from patched modules, and without global state: the
recorder travels down the model's own keyword arguments. A layer that nobody asks about runs PyTorch's fused attention
as ever. A shared layer (ALBERT) is recorded once a use.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from compress.encoder import MODEL_INPUTS
from compress.losses.tokens import widen

ATTENTION = "compress_recording"
Vectors = Literal["query", "key", "value"]


@dataclass(frozen=True)
class Needs:
    """What terms ask of a model; layers count from 1.

    Attributes:
        logits: Its answers.
        hidden: Its hidden states.
        scores: Layers whose attention scores are wanted.
        vectors: Layer → which of queries, keys, values are wanted.
    """

    logits: bool = False
    hidden: bool = False
    scores: frozenset[int] = frozenset()
    vectors: Mapping[int, frozenset[Vectors]] = field(default_factory=dict)

    @property
    def attention(self) -> bool:
        """Whether anything inside an attention layer is wanted."""
        return bool(self.scores or self.vectors)


@dataclass(frozen=True)
class States:
    """What was seen of one batch; layers count from 1.

    Attributes:
        logits: `[B, C]`, or `[B, L, V]` of an MLM head; None of a model without a head.
        hidden: Embeddings, then each layer's output, each `[B, L, H]`.
        scores: Layer → scores before the softmax, before masking, `[B, A, L, L]`.
        vectors: Layer → queries, keys, values with their heads concatenated, `[B, L, H]`.
    """

    logits: Tensor | None
    hidden: tuple[Tensor, ...]
    scores: Mapping[int, Tensor]
    vectors: Mapping[int, Mapping[Vectors, Tensor]]


class Recorder:
    """Takes down what attention layers hand it, one after the other."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.layers = 0
        self.scores: dict[int, Tensor] = {}
        self.vectors: dict[int, dict[Vectors, Tensor]] = {}


def read_states(model: nn.Module, batch: Mapping[str, Tensor], needs: Needs) -> States:
    """Run a model and note what is asked for.

    Args:
        model: One that `recording` prepared where attention is asked for.
        batch: Holds the model's inputs, each `[B, L]`.
        needs: What is asked for.

    Raises:
        RuntimeError: Not each of its layers was seen.
    """
    recorder = Recorder(needs)
    asked: dict[str, Any] = {"output_hidden_states": True} if needs.hidden else {}
    if needs.attention:
        asked["recorder"] = recorder
    outputs = model(**{name: batch[name] for name in MODEL_INPUTS if name in batch}, **asked)
    if needs.hidden or needs.attention:
        _require_all(model, recorder, outputs)
    return States(
        logits=outputs.logits if needs.logits else None,
        hidden=tuple(outputs.hidden_states) if needs.hidden else (),
        scores=recorder.scores,
        vectors=recorder.vectors,
    )


@contextlib.contextmanager
def recording(model: PreTrainedModel, needs: Needs) -> Iterator[None]:
    """Have a model's attention layers pass by the recorder, where anything in them is asked for."""
    if not needs.attention:
        yield
        return
    usual = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    recorder: Recorder | None = None,
    **more: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as `transformers` calls it; queries, keys and values are `[B, A, L, D]`.

    Returns:
        The output, `[B, L, A, D]`, and None for the probabilities.
    """
    fused = {"scaling": scaling, "dropout": dropout, **more}
    if recorder is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **fused)
    recorder.layers += 1
    layer = recorder.layers
    wanted = recorder.needs.vectors.get(layer)
    if wanted:
        found: dict[Vectors, Tensor] = {"query": query, "key": key, "value": value}
        recorder.vectors[layer] = {name: found[name].transpose(1, 2).flatten(2) for name in wanted}
    if layer not in recorder.needs.scores:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **fused)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.transpose(-1, -2) * scale
    recorder.scores[layer] = scores
    seen = scores if attention_mask is None else _mask(scores, attention_mask)
    weights = functional.softmax(widen(seen), dim=-1).to(value.dtype)
    weights = functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _mask(scores: Tensor, attention_mask: Tensor) -> Tensor:
    if attention_mask.dtype == torch.bool:
        return scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    return scores + attention_mask


def _require_all(model: nn.Module, recorder: Recorder, outputs: Any) -> None:
    config: Any = model.config
    states = len(outputs.hidden_states) - 1 if recorder.needs.hidden else config.num_hidden_layers
    if states != config.num_hidden_layers:
        raise RuntimeError(
            f"A {config.model_type} of {config.num_hidden_layers} layers gave the states of {states}."
        )
    if recorder.needs.attention and recorder.layers != config.num_hidden_layers:
        raise RuntimeError(
            f"{recorder.layers} attention layers were recorded of a {config.model_type} with "
            f"{config.num_hidden_layers}: its attention does not pass by the recorder."
        )


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
