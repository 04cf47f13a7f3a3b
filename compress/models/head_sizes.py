"""Encoders whose heads have a size of their own, which `transformers` lacks: heads can go while the width stays.

In all four families of `transformers` a head is as wide as the hidden width divided by the number of heads, and no
configuration says otherwise. In ours `config.head_size` does: queries, keys and values are `[A · D, H]`, the map behind
them `[H, A · D]`. Importing this module makes them known to the Auto classes, so that `from_pretrained` loads them.
"""

from typing import Any, TypeVar

from torch import nn
from transformers import (
    AlbertForMaskedLM,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    ElectraForMaskedLM,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ElectraModel,
    PretrainedConfig,
    PreTrainedModel,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)

from compress.models.configuration import (
    HeadPrunedAlbertConfig,
    HeadPrunedBertConfig,
    HeadPrunedElectraConfig,
    HeadPrunedRobertaConfig,
)

AUTO = (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
)
PLAIN_FAMILIES: dict[type[PretrainedConfig], tuple[type[PreTrainedModel], ...]] = {
    HeadPrunedBertConfig: (
        BertModel,
        BertForSequenceClassification,
        BertForMaskedLM,
        BertForTokenClassification,
    ),
    HeadPrunedRobertaConfig: (
        RobertaModel,
        RobertaForSequenceClassification,
        RobertaForMaskedLM,
        RobertaForTokenClassification,
    ),
    HeadPrunedElectraConfig: (
        ElectraModel,
        ElectraForSequenceClassification,
        ElectraForMaskedLM,
        ElectraForTokenClassification,
    ),
    HeadPrunedAlbertConfig: (
        AlbertModel,
        AlbertForSequenceClassification,
        AlbertForMaskedLM,
        AlbertForTokenClassification,
    ),
}
"""Our configuration → the classes of `transformers`, in the order of `AUTO`."""

Model = TypeVar("Model", bound=PreTrainedModel)


class _OwnHeadSize:
    """Gives the attentions of an encoder of `transformers` their size before its weights are drawn."""

    config: Any

    def post_init(self) -> None:
        set_head_size(self, self.config.head_size)  # type: ignore[arg-type]
        super().post_init()  # type: ignore[misc]


def set_head_size(model: nn.Module, size: int) -> None:
    """Replace the linear maps of each self-attention by undrawn ones for heads of a size; their number stays.

    Args:
        model: BERT, RoBERTa, ELECTRA or ALBERT, changed in place; its layers do not share single maps yet.
        size: D.
    """
    for module in list(model.modules()):
        if isinstance(getattr(module, "self", None), nn.Module):  # all but ALBERT keep the map behind apart
            _resize(module.self, module.output, size)
        elif hasattr(module, "query") and hasattr(module, "dense"):
            _resize(module, module, size)


def _resize(attention: Any, holder: Any, size: int) -> None:
    width, together = attention.query.in_features, attention.num_attention_heads * size
    attention.attention_head_size, attention.all_head_size = size, together
    attention.scaling = size**-0.5
    for name in ("query", "key", "value"):
        setattr(attention, name, nn.Linear(width, together))
    holder.dense = nn.Linear(together, width)


def _derive(plain: type[Model], config: type[PretrainedConfig]) -> type[Model]:
    """One of our classes: a class of `transformers` whose heads have a size of their own."""
    members = {
        "__module__": __name__,
        "__doc__": f"{plain.__name__} of heads of the size that its configuration gives.",
        "config_class": config,
    }
    return type(f"HeadPruned{plain.__name__}", (_OwnHeadSize, plain), members)


HEAD_PRUNED = {plain: _derive(plain, config) for config, family in PLAIN_FAMILIES.items() for plain in family}
"""A class of `transformers` → ours, with heads of a size of their own."""
PLAIN = {ours: plain for plain, ours in HEAD_PRUNED.items()}

for _config, _family in PLAIN_FAMILIES.items():
    for _auto, _plain in zip(AUTO, _family, strict=True):
        _auto.register(_config, HEAD_PRUNED[_plain], exist_ok=True)


def is_head_pruned(model: PreTrainedModel) -> bool:
    """Whether a model is one of ours, which `transformers` alone cannot load."""
    return type(model) in PLAIN
