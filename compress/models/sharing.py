"""ALBERTs whose layers share their attention or their feed-forward network, which `transformers` lacks.

ALBERT's paper (Lan et al. 2020, section 3.1 and table 4) compares four ways to share: all, attention only, FFN only,
none. `transformers` has the first (with groups of layers) and the last (as many groups as layers); here are the other
two. Importing this module makes them known to the Auto classes, so that `from_pretrained` loads them.

A layer of ALBERT is `AlbertLayer`; of its modules, shared are with

- `share = "attention"`: `attention.query`, `attention.key`, `attention.value`, `attention.dense` and
  `attention.LayerNorm`; each layer has its own `ffn`, `ffn_output` and `full_layer_layer_norm`;
- `share = "ffn"`: `ffn`, `ffn_output` and `full_layer_layer_norm`; each layer has its own attention with its norm.

The shared modules are the same objects in every layer: `parameters()` yields them once, a gradient is the sum over their
uses, and `.to()` and `deepcopy` keep them shared. A file holds each of them once, under the first layer's name.
"""

from typing import Any, cast

from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.models.albert.modeling_albert import AlbertPreTrainedModel, AlbertTransformer

from compress.errors import InvalidInputError
from compress.models.configuration import HeadPrunedAlbertConfig, PartiallySharedAlbertConfig
from compress.models.head_sizes import HEAD_PRUNED, set_head_size

SHARED_MODULES = {
    # Not the attention as a whole: `transformers` would record it once for each layer at each of its uses.
    "attention": (
        "attention.query",
        "attention.key",
        "attention.value",
        "attention.dense",
        "attention.LayerNorm",
    ),
    "ffn": ("ffn", "ffn_output", "full_layer_layer_norm"),
}
"""What a layer shares with the others, by the names of `AlbertLayer`."""


class PartiallySharedAlbertModel(AlbertModel):  # type: ignore[no-untyped-call]
    """The encoder, without a head."""

    config: PartiallySharedAlbertConfig

    def post_init(self) -> None:
        """Share the modules, then draw the weights, each once."""
        if self.config.head_size is not None:
            set_head_size(self.encoder, self.config.head_size)
        self._tied_weights_keys = {
            f"encoder.{name}": f"encoder.{source}"
            for name, source in share_modules(self.encoder, self.config.share).items()
        }
        super().post_init()  # type: ignore[no-untyped-call]

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Each shared tensor's other names → its own, whether or not word tables are tied to an output."""
        return dict(self._tied_weights_keys)


class _Headed(AlbertPreTrainedModel):  # type: ignore[no-untyped-call]
    """Puts the encoder that shares under a head of `transformers`."""

    config: PartiallySharedAlbertConfig
    albert: AlbertModel

    def post_init(self) -> None:
        pooled = self.albert.pooler is not None
        self.albert = PartiallySharedAlbertModel(self.config, add_pooling_layer=pooled)
        super().post_init()  # type: ignore[no-untyped-call]


class PartiallySharedAlbertForSequenceClassification(_Headed, AlbertForSequenceClassification):  # type: ignore[no-untyped-call]
    """With a classifier of the whole text."""


class PartiallySharedAlbertForMaskedLM(_Headed, AlbertForMaskedLM):  # type: ignore[no-untyped-call]
    """With ALBERT's head for masked pieces, whose output table is the word table."""


class PartiallySharedAlbertForTokenClassification(_Headed, AlbertForTokenClassification):  # type: ignore[no-untyped-call]
    """With a classifier of each piece."""


PLAIN_CLASSES: dict[type[PreTrainedModel], type[PreTrainedModel]] = {
    PartiallySharedAlbertModel: AlbertModel,
    PartiallySharedAlbertForSequenceClassification: AlbertForSequenceClassification,
    PartiallySharedAlbertForMaskedLM: AlbertForMaskedLM,
    PartiallySharedAlbertForTokenClassification: AlbertForTokenClassification,
}
"""Ours → the class of `transformers` that computes the same with a copy for each layer."""


def share_modules(encoder: AlbertTransformer, share: str) -> dict[str, str]:
    """Replace one part of each layer by the first layer's.

    Args:
        encoder: Its layers are as yet separate.
        share: Which part: a key of `SHARED_MODULES`.

    Returns:
        For each parameter of the later layers that is now the first one's, its name → the first one's.
    """
    layers = {
        f"albert_layer_groups.{group}.albert_layers.{number}": layer
        for group, layers in enumerate(encoder.albert_layer_groups)
        for number, layer in enumerate(cast(nn.ModuleList, layers.albert_layers))
    }
    (first, source), *others = layers.items()
    names: dict[str, str] = {}
    for prefix, layer in others:
        for path in SHARED_MODULES[share]:
            module = source.get_submodule(path)
            layer.set_submodule(path, module)
            names |= {
                f"{prefix}.{path}.{name}": f"{first}.{path}.{name}" for name, _ in module.named_parameters()
            }
    return names


def is_partially_shared(model: PreTrainedModel) -> bool:
    """Whether a model is one of ours, which `transformers` alone cannot load."""
    return type(model) in PLAIN_CLASSES


def to_plain_albert(model: PreTrainedModel) -> PreTrainedModel:
    """The same function as an ALBERT of `transformers`: each layer gets a copy of what it shared.

    The logits are the same, the parameters more; what is trained further grows apart. Heads of a size of their own
    keep it: `compress.models.plain` makes those plain, too.

    Args:
        model: One of this module's, which is left as it is.

    Raises:
        InvalidInputError: It is another model.
    """
    if not is_partially_shared(model):
        known = ", ".join(sorted(kind.__name__ for kind in PLAIN_CLASSES))
        raise InvalidInputError(
            f"{type(model).__name__} is none of the models that share a part of their layers ({known}).",
            "Save it as it is: transformers loads it already.",
        )
    fields: dict[str, Any] = model.config.to_dict()
    for name in ("model_type", "share", "architectures", "transformers_version"):
        fields.pop(name, None)
    headless = isinstance(model, PartiallySharedAlbertModel)
    options = {"add_pooling_layer": model.pooler is not None} if headless else {}
    kind = PLAIN_CLASSES[type(model)]
    if fields["head_size"] is None:
        del fields["head_size"]
        plain: nn.Module = kind(AlbertConfig(**fields), **options)
    else:
        plain = HEAD_PRUNED[kind](HeadPrunedAlbertConfig(**fields), **options)
    plain.to(device=model.device, dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.train(model.training)
    return cast(PreTrainedModel, plain)


for _auto, _model in (
    (AutoModel, PartiallySharedAlbertModel),
    (AutoModelForSequenceClassification, PartiallySharedAlbertForSequenceClassification),
    (AutoModelForMaskedLM, PartiallySharedAlbertForMaskedLM),
    (AutoModelForTokenClassification, PartiallySharedAlbertForTokenClassification),
):
    _auto.register(PartiallySharedAlbertConfig, _model, exist_ok=True)
