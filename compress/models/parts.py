"""The parts of an encoder, told by the names of its modules: whose parameters and whose milliseconds they are."""

from collections.abc import Mapping

from torch import nn

from compress.runs import PARTS, Part

_NAMES: Mapping[Part, tuple[str, ...]] = {
    "classifier": ("classifier", "pooler", "pre_classifier"),
    "embeddings": (
        "embedding",
    ),  # their projection to the layers' width, too: embeddings_project and its like
    "attention": ("attention", "sa_layer_norm"),
    "feed-forward": ("ffn", "intermediate", "output", "full_layer_layer_norm", "activation"),
}
"""What a component of a module's path begins with, of whatever family; the first part that matches has it.

So `attention.output.LayerNorm` is attention's: a layer norm belongs to the block that it closes.
"""


def part_of(path: str) -> Part:
    """The part that a module, a parameter or a constant of a graph belongs to, by its dotted path."""
    components = path.split(".")
    for part, beginnings in _NAMES.items():
        if any(component.startswith(beginnings) for component in components):
            return part
    return "other"


def count_by_part(model: nn.Module) -> dict[Part, int]:
    """Parameters of each part, every part named; a shared tensor counts once."""
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():  # yields a shared one once, by its first name
        counts[part_of(name)] += parameter.numel()
    return counts
