"""The configuration of an ALBERT whose layers share one of their two parts; importing it makes it known."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.models.albert.configuration_albert import AlbertConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from compress.models.placeholder import MODEL_TYPE


@strict
class PartiallySharedAlbertConfig(AlbertConfig):  # type: ignore[no-untyped-call]
    """An ALBERT whose layers share their attention or their feed-forward network (section 3.1).

    Attributes:
        share: The part that is one and the same in all layers; each layer has its own other part.
            Everything else is as in `AlbertConfig`, its groups aside: there is one a layer.
    """

    model_type = MODEL_TYPE

    share: Literal["attention", "ffn"] = "attention"

    def __post_init__(self, **kwargs: Any) -> None:
        from compress.models import sharing  # noqa: F401 (it makes the classes known that go with it)

        self.num_hidden_groups = self.num_hidden_layers
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


CONFIG_MAPPING.register(MODEL_TYPE, PartiallySharedAlbertConfig, exist_ok=True)
