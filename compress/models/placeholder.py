"""What stands in the list of architectures of `transformers` until one of ours is first asked for.

It is put there while `transformers` is still being imported, when our own classes, which derive from its, cannot be
made yet: so it knows nothing but where they are.
"""

import importlib
from typing import Any

from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

MODEL_TYPE = "partially_shared_albert"
CONFIGURATIONS = {
    MODEL_TYPE: "PartiallySharedAlbertConfig",
    "head_pruned_bert": "HeadPrunedBertConfig",
    "head_pruned_roberta": "HeadPrunedRobertaConfig",
    "head_pruned_electra": "HeadPrunedElectraConfig",
    "head_pruned_albert": "HeadPrunedAlbertConfig",
}
"""Our model types → their classes in `compress.models.configuration`."""


def describe_lacking(config: PreTrainedConfig) -> str | None:
    """What an architecture of ours has that those of `transformers` lack; None if it is one of theirs."""
    if config.model_type not in CONFIGURATIONS:
        return None
    parts = ["Its layers share a part of themselves"] if config.model_type == MODEL_TYPE else []
    parts += ["Its heads are fewer than its width has room for"] if getattr(config, "head_size", None) else []
    return " and ".join(parts).replace(" and Its", " and its")


def stand_in(model_type: str) -> type[PreTrainedConfig]:
    """A class that gives way to one of our configurations as soon as it is used; it knows its model type."""

    def configuration() -> Any:
        module = importlib.import_module("compress.models.configuration")
        return getattr(module, CONFIGURATIONS[model_type])

    def make(_: type, *args: Any, **kwargs: Any) -> Any:
        return configuration()(*args, **kwargs)

    def from_dict(_: type, *args: Any, **kwargs: Any) -> Any:  # what `AutoConfig` calls
        return configuration().from_dict(*args, **kwargs)

    name = f"PlaceholderOf{CONFIGURATIONS[model_type]}"
    members = {
        "__module__": __name__,
        "__new__": make,
        "from_dict": classmethod(from_dict),
        "model_type": model_type,
    }
    return type(name, (PreTrainedConfig,), members)


for _model_type in CONFIGURATIONS:
    if _model_type not in CONFIG_MAPPING:
        CONFIG_MAPPING.register(_model_type, stand_in(_model_type))
