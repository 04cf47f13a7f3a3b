"""What stands in the list of architectures of `transformers` until one of ours is first asked for.

It is put there while `transformers` is still being imported, when our own classes, which derive from its, cannot be
made yet: so it knows nothing but where they are.
"""

from typing import Any

from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

MODEL_TYPE = "partially_shared_albert"


class Placeholder(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Gives way to `PartiallySharedAlbertConfig` as soon as it is used."""

    model_type = MODEL_TYPE

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """An instance of the class itself."""
        from compress.models.configuration import PartiallySharedAlbertConfig

        return PartiallySharedAlbertConfig(*args, **kwargs)

    @classmethod
    def from_dict(cls, *args: Any, **kwargs: Any) -> Any:
        """What `AutoConfig` calls."""
        from compress.models.configuration import PartiallySharedAlbertConfig

        return PartiallySharedAlbertConfig.from_dict(*args, **kwargs)


if MODEL_TYPE not in CONFIG_MAPPING:
    CONFIG_MAPPING.register(MODEL_TYPE, Placeholder)
