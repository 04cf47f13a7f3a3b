"""Attention as our training runs it: what happens inside can be recorded, and short texts take the faster of two ways.

A function registered with `transformers`, not patched modules, and without global state: a recorder travels down the
model's own keyword arguments. Where nobody records, PyTorch's fused attention runs as ever, but for one case. Its
backward pass in bfloat16 on a CPU is slow: for 12 heads of 26 and 56 tokens four times as slow as plain products, for
128 tokens 2.7 times; at 256 the two meet. In float32, and without gradients, the fused one is as fast or faster.
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

ATTENTION = "compress"
Vectors = Literal["query", "key", "value"]
SHORT = 128
"""Tokens up to which plain products are taken in bfloat16 on a CPU; their memory grows with the square."""


@dataclass
class Recorder:
    """Takes down what attention layers hand it, one after the other; a shared layer (ALBERT) once a use.

    Attributes:
        of_scores: Layers whose scores are wanted, from 1.
        of_vectors: Layer → which of queries, keys, values are wanted.
        layers: How many were seen.
        scores: Layer → scores before the softmax, before masking, `[B, A, L, L]`.
        vectors: Layer → queries, keys, values with their heads concatenated, `[B, L, H]`.
    """

    of_scores: frozenset[int]
    of_vectors: Mapping[int, frozenset[Vectors]]
    layers: int = 0
    scores: dict[int, Tensor] = field(default_factory=dict)
    vectors: dict[int, dict[Vectors, Tensor]] = field(default_factory=dict)


@contextlib.contextmanager
def attending(model: PreTrainedModel) -> Iterator[None]:
    """Have a model's attention layers run `attend`, and its own function again afterwards."""
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
    scores = None
    if recorder is not None:
        recorder.layers += 1
        layer = recorder.layers
        if wanted := recorder.of_vectors.get(layer):
            found: dict[Vectors, Tensor] = {"query": query, "key": key, "value": value}
            recorder.vectors[layer] = {name: found[name].transpose(1, 2).flatten(2) for name in wanted}
        if layer in recorder.of_scores:
            scores = recorder.scores[layer] = _score(query, key, scaling)
    if scores is None:
        if not _fused_is_slow(query):
            fused = {"scaling": scaling, "dropout": dropout, **more}
            return sdpa_attention_forward(module, query, key, value, attention_mask, **fused)
        scores = _score(query, key, scaling)
    seen = scores if attention_mask is None else _mask(scores, attention_mask)
    precise = torch.promote_types(seen.dtype, torch.float32)
    weights = functional.softmax(seen, dim=-1, dtype=precise).to(value.dtype)
    weights = functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _score(query: Tensor, key: Tensor, scaling: float | None) -> Tensor:
    return query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)


def _fused_is_slow(query: Tensor) -> bool:
    halved = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    return halved and torch.is_grad_enabled() and query.shape[-2] <= SHORT


def _mask(scores: Tensor, attention_mask: Tensor) -> Tensor:
    if attention_mask.dtype == torch.bool:
        return scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    return scores + attention_mask


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
