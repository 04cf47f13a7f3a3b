"""Turn a big text encoder and a task into the smallest, fastest encoder that keeps the score, and prove it.

The verbs are imported when they are first used, so that `import compress` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compress.models.registration import register_with_transformers

if TYPE_CHECKING:
    from compress.api import distill, evaluate, export, finetune, measure, predict, pretrain, prune, quantize
    from compress.errors import CompressError
    from compress.inference import load
    from compress.planning import Options, Teaching
    from compress.pruning.targets import Target
    from compress.recipes.pruning import Removal
    from compress.recovery import Recovery
    from compress.reporting import write_report as report

__all__ = [
    "CompressError",
    "Options",
    "Recovery",
    "Removal",
    "Target",
    "Teaching",
    "distill",
    "evaluate",
    "export",
    "finetune",
    "load",
    "measure",
    "predict",
    "pretrain",
    "prune",
    "quantize",
    "report",
]

_HOMES = {
    "CompressError": ("compress.errors", "CompressError"),
    "Options": ("compress.planning", "Options"),
    "Recovery": ("compress.recovery", "Recovery"),
    "Target": ("compress.pruning.targets", "Target"),
    "Removal": ("compress.recipes.pruning", "Removal"),
    "Teaching": ("compress.planning", "Teaching"),
    "load": ("compress.inference", "load"),
    "report": ("compress.reporting", "write_report"),
}


register_with_transformers()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    module, attribute = _HOMES.get(name, ("compress.api", name))
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
