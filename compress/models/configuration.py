"""The configurations of the architectures that `transformers` lacks; importing this module makes them known."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.models.albert.configuration_albert import AlbertConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.electra.configuration_electra import ElectraConfig
from transformers.models.roberta.configuration_roberta import RobertaConfig

from compress.models.placeholder import MODEL_TYPE


@strict
class PartiallySharedAlbertConfig(AlbertConfig):  # type: ignore[no-untyped-call]
    """An ALBERT whose layers share their attention or their feed-forward network (section 3.1).

    Attributes:
        share: The part that is one and the same in all layers; each layer has its own other part.
        head_size: Of each attention head; None is the hidden width divided among the heads.
            Everything else is as in `AlbertConfig`, its groups aside: there is one a layer.
    """

    model_type = MODEL_TYPE

    share: Literal["attention", "ffn"] = "attention"
    head_size: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        from compress.models import sharing  # noqa: F401 (it makes the classes known that go with it)

        self.num_hidden_groups = self.num_hidden_layers
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class _HeadPruned:
    """A configuration whose heads have a size of their own: together they may be narrower than the layers."""

    def __post_init__(self, **kwargs: Any) -> None:
        from compress.models import head_sizes  # noqa: F401 (it makes the classes known that go with it)

        super().__post_init__(**kwargs)  # type: ignore[misc]


class _AnyWidth(_HeadPruned):
    """For the families that ask for a width that their heads divide."""

    @property
    def embedding_size(self) -> int:
        """The hidden width. To `transformers` that there is one is the sign that heads need not divide the width."""
        return self.hidden_size  # type: ignore[attr-defined, no-any-return]


@strict
class HeadPrunedBertConfig(_AnyWidth, BertConfig):  # type: ignore[no-untyped-call]
    """A BERT of heads of a given size."""

    model_type = "head_pruned_bert"
    head_size: int = 64


@strict
class HeadPrunedRobertaConfig(_AnyWidth, RobertaConfig):  # type: ignore[no-untyped-call]
    """A RoBERTa of heads of a given size."""

    model_type = "head_pruned_roberta"
    head_size: int = 64


@strict
class HeadPrunedElectraConfig(_HeadPruned, ElectraConfig):  # type: ignore[no-untyped-call]
    """An ELECTRA of heads of a given size."""

    model_type = "head_pruned_electra"
    head_size: int = 64


@strict
class HeadPrunedAlbertConfig(_HeadPruned, AlbertConfig):  # type: ignore[no-untyped-call]
    """An ALBERT of heads of a given size."""

    model_type = "head_pruned_albert"
    head_size: int = 64


for _config in (
    PartiallySharedAlbertConfig,
    HeadPrunedBertConfig,
    HeadPrunedRobertaConfig,
    HeadPrunedElectraConfig,
    HeadPrunedAlbertConfig,
):
    CONFIG_MAPPING.register(_config.model_type, _config, exist_ok=True)
