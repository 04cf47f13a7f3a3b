"""What became of a PyTorch model's modules: which stayed in full precision and why, and how often the others are run."""

from collections.abc import Collection

import torch
from torch import nn

from compress.engines import Inputs
from compress.errors import CompressError
from compress.parity import evaluating
from compress.quantization.summary import KEPT, KeptInFloat


def name_of(model: nn.Module, wanted: nn.Module) -> str:
    """The name of one of a model's modules."""
    found: str = next(name for name, module in model.named_modules() if module is wanted)
    return found


def list_kept(
    model: nn.Module, quantized: type[nn.Module], *, chosen: Collection[str] = ()
) -> dict[str, KeptInFloat]:
    """The parameters that stayed in full precision, by name, a shared one once.

    Args:
        model: After quantization.
        quantized: The type of the modules whose weights are in fewer bits.
        chosen: Modules that were to stay.
    """
    kept: dict[str, KeptInFloat] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or (isinstance(module, quantized) and name == "weight"):
                continue
            seen.add(id(parameter))
            if parameter.dim() < 2:
                reason = "biases and layer norms: vectors, added and scaled in fp32"
            elif prefix in chosen:
                reason = KEPT
            elif isinstance(module, nn.Embedding):
                reason = "tables: the library looks no rows up in fewer bits"
            else:
                reason = "pooler and classifier: they decide the answer and take few bytes"
            kept[f"{prefix}.{name}"] = KeptInFloat(parameter.nbytes, reason)
    return kept


def require_some(layers: Collection[str], kept: Collection[str]) -> None:
    """Refuse to keep every layer.

    Raises:
        CompressError: None is left to be quantized.
    """
    if not set(layers) - set(kept):
        raise CompressError(
            "Every layer would stay in full precision, so nothing would be quantized.",
            "Keep fewer, let the score fall further (--max-drop), or take a method of more bits.",
        )


def count_uses(model: nn.Module, kind: type[nn.Module], inputs: Inputs) -> int:
    """How often modules of a kind are run for a batch: a shared layer counts once a use."""
    calls: list[None] = []
    modules = [module for module in model.modules() if isinstance(module, kind)]
    handles = [module.register_forward_hook(lambda *_: calls.append(None)) for module in modules]
    try:
        where = next(model.parameters()).device
        with evaluating(model), torch.no_grad():
            model(**{name: torch.from_numpy(array).to(where) for name, array in inputs.items()})
    finally:
        for handle in handles:
            handle.remove()
    return len(calls)
