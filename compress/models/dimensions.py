"""The sizes of an encoder, read from its configuration, and the same model at other sizes.

A configuration of `transformers` knows one feed-forward width for all layers, and heads that fill the hidden width.
Where heads are fewer, the model becomes one of ours with a head size of its own (`head_sizes`).
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import InvalidInputError
from compress.models.configuration import PartiallySharedAlbertConfig
from compress.models.head_sizes import HEAD_PRUNED, PLAIN, PLAIN_FAMILIES
from compress.models.placeholder import MODEL_TYPE
from compress.models.plain import OURS

FACTORIZED = ("electra", "albert")
"""Families whose embedding tables may have a width of their own."""
PLAIN_CONFIGS: dict[Any, Any] = {config: family[0].config_class for config, family in PLAIN_FAMILIES.items()}


@dataclass(frozen=True)
class Dimensions:
    """How large an encoder is.

    Attributes:
        family: One of the four.
        vocabulary: V.
        layers: How often a layer is passed.
        heads: A, of each layer.
        head_size: D.
        ffn: Neurons of a feed-forward network.
        hidden: H.
        embedding: E, where the tables have a width of their own and a projection behind them.
    """

    family: str
    vocabulary: int
    layers: int
    heads: int
    head_size: int
    ffn: int
    hidden: int
    embedding: int | None

    @property
    def heads_fill_width(self) -> bool:
        """Whether a plain configuration can say it."""
        return self.heads * self.head_size == self.hidden


def read_dimensions(config: PretrainedConfig) -> Dimensions:
    """The sizes of a model.

    Raises:
        InvalidInputError: It is of none of the four families.
    """
    family = "albert" if config.model_type == MODEL_TYPE else config.model_type.removeprefix("head_pruned_")
    if family not in ("bert", "roberta", "electra", "albert"):
        raise InvalidInputError(
            f"A {config.model_type!r} model cannot be pruned: where it keeps its weights is not known here.",
            "Take a BERT, RoBERTa, ELECTRA or ALBERT.",
        )
    heads, hidden = config.num_attention_heads, config.hidden_size
    own_width = family == "albert" or (family == "electra" and config.embedding_size != hidden)
    return Dimensions(
        family=family,
        vocabulary=config.vocab_size,
        layers=config.num_hidden_layers,
        heads=heads,
        head_size=getattr(config, "head_size", None) or hidden // heads,
        ffn=config.intermediate_size,
        hidden=hidden,
        embedding=config.embedding_size if own_width else None,
    )


def resize_config(config: PretrainedConfig, wanted: Dimensions) -> PretrainedConfig:
    """The configuration of the same model at other sizes: a plain one where that can say it.

    Raises:
        InvalidInputError: An ELECTRA's tables would be as wide as its layers, where it has no projection.
    """
    fields: dict[str, Any] = {name: value for name, value in config.to_dict().items() if name not in OURS}
    fields |= {
        "vocab_size": wanted.vocabulary,
        "num_hidden_layers": wanted.layers,
        "num_attention_heads": wanted.heads,
        "intermediate_size": wanted.ffn,
        "hidden_size": wanted.hidden,
    }
    if wanted.family in FACTORIZED:
        fields["embedding_size"] = wanted.hidden if wanted.embedding is None else wanted.embedding
    if wanted.family == "electra" and wanted.embedding == wanted.hidden:
        raise InvalidInputError(
            f"The hidden width would be {wanted.hidden}, as wide as the embedding tables: an ELECTRA has no projection "
            "between the two then.",
            "Remove a little more or less of one of them.",
        )
    if wanted.family == "albert" and config.num_hidden_groups == config.num_hidden_layers:
        fields["num_hidden_groups"] = wanted.layers
    own_size = None if wanted.heads_fill_width else wanted.head_size
    kind: Any = type(config)
    if kind is PartiallySharedAlbertConfig:
        return kind(**fields, head_size=own_size)
    plain = PLAIN_CONFIGS.get(kind, kind)
    if own_size is None:
        return plain(**fields)  # type: ignore[no-any-return]
    ours = next(each for each, known in PLAIN_CONFIGS.items() if known is plain)
    return ours(**fields, head_size=own_size)  # type: ignore[no-any-return]


def rebuild(
    model: PreTrainedModel, wanted: Dimensions, state: dict[str, Tensor] | None = None
) -> PreTrainedModel:
    """A model of the same kind at other sizes, in eval mode, with the weights that are given.

    Args:
        model: What it is to be like.
        wanted: Its sizes.
        state: Its weights by name, each of the shape that these sizes ask for; `model`'s own by default.

    Raises:
        RuntimeError: A weight is missing or of another shape; nothing is filled in.
    """
    config = resize_config(model.config, wanted)
    plain = PLAIN.get(type(model), type(model))
    kind = HEAD_PRUNED[plain] if type(config) in PLAIN_FAMILIES else plain
    rebuilt = kind(config)
    rebuilt.load_state_dict(model.state_dict() if state is None else state)
    rebuilt.to(device=model.device, dtype=model.dtype)  # type: ignore[call-arg]
    return rebuilt.eval()  # type: ignore[no-untyped-call, no-any-return]
