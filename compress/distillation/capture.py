"""What happens inside a model: hidden states, attention scores, queries, keys and values, where a term asks for them."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.encoder import MODEL_INPUTS
from compress.models.attention import Recorder, Vectors, attending


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


def read_states(model: nn.Module, batch: Mapping[str, Tensor], needs: Needs) -> States:
    """Run a model and note what is asked for.

    Args:
        model: One that `recording` prepared where attention is asked for.
        batch: Holds the model's inputs, each `[B, L]`.
        needs: What is asked for.

    Raises:
        RuntimeError: Not each of its layers was seen.
    """
    recorder = Recorder(needs.scores, needs.vectors)
    asked: dict[str, Any] = {"output_hidden_states": True} if needs.hidden else {}
    if needs.attention:
        asked["recorder"] = recorder
    outputs = model(**{name: batch[name] for name in MODEL_INPUTS if name in batch}, **asked)
    if needs.hidden or needs.attention:
        _require_all(model, recorder, needs, outputs)
    return States(
        logits=outputs.logits if needs.logits else None,
        hidden=tuple(outputs.hidden_states) if needs.hidden else (),
        scores=recorder.scores,
        vectors=recorder.vectors,
    )


@contextlib.contextmanager
def recording(model: PreTrainedModel, needs: Needs) -> Iterator[None]:
    """Have a model's attention layers pass by the recorder, where anything in them is asked for."""
    with attending(model) if needs.attention else contextlib.nullcontext():
        yield


def _require_all(model: nn.Module, recorder: Recorder, needs: Needs, outputs: Any) -> None:
    config: Any = model.config
    states = len(outputs.hidden_states) - 1 if needs.hidden else config.num_hidden_layers
    if states != config.num_hidden_layers:
        raise RuntimeError(
            f"A {config.model_type} of {config.num_hidden_layers} layers gave the states of {states}."
        )
    if needs.attention and recorder.layers != config.num_hidden_layers:
        raise RuntimeError(
            f"{recorder.layers} attention layers were recorded of a {config.model_type} with "
            f"{config.num_hidden_layers}: its attention does not pass by the recorder."
        )
