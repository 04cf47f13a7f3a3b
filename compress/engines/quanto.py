"""Models whose weights quanto has quantized: PyTorch, its weights unpacked as they are used."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from optimum.quanto import qtypes, requantize
from optimum.quanto.library.extensions.cpp import ext
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from compress.artefacts import QUANTO_FILE
from compress.engines import Inputs, Logits, Milliseconds
from compress.engines.hooks import profile_modules
from compress.environment import Device, device
from compress.errors import CompressError, first_line

MAP = "quantization_map"
"""Where the file's header says which modules were quantized, and how."""
FIX = "Make it again: the command that made it, with --force."


def _unpack(packed: Tensor, bits: int) -> Tensor:
    """Numbers of so many bits, as quanto packs them in bytes: the first rows are the lowest bits."""
    return torch.cat([packed >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)])


# quanto compiles its own unpacking at the first use, in the folder that it is installed in: that needs a compiler, and
# the right to write there.
ext._lib = SimpleNamespace(unpack=_unpack)


class QuantoEngine:
    """PyTorch, eager; under `no_grad`, for quanto's tensors do not know `inference_mode`."""

    name = "quanto"

    def __init__(self, model: PreTrainedModel, *, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device: Device = device()
        self._model: nn.Module = model.to(self.device).eval()  # type: ignore[arg-type]

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""
        with torch.no_grad():
            tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
            return self._model(**tensors).logits.float().cpu().numpy()  # type: ignore[no-any-return]

    def profile(self, batches: Sequence[Inputs]) -> list[Milliseconds]:
        """What each part took, batch by batch."""
        return profile_modules(self._model, self.run, batches, device=self.device)


def load_quanto(path: Path, config: PretrainedConfig) -> PreTrainedModel:
    """A classifier as `compress quantize --method quanto-int8` or `quanto-int4` wrote it.

    Stricter than quanto's own `requantize`, which fills what is missing with whatever lies in memory.

    Args:
        path: Holds `quanto.safetensors`.
        config: The configuration beside it.

    Raises:
        CompressError: The file is damaged, or its tensors are not those of the configuration.
    """
    file = path / QUANTO_FILE
    tensors, quantized = _read(file)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    unknown = sorted(quantized.keys() - layers)
    if unknown or not quantized:
        raise CompressError(
            f"{file} does not fit config.json: it says that {', '.join(unknown) or 'nothing'} was quantized.",
            "Bring the config.json that was saved with it.",
        )
    places = find_places(model)
    try:
        requantize(model, dict(tensors), quantized)  # it takes tensors out of the dictionary
        share_again(model, places)
        broken = _find_broken(model, quantized)
    except Exception as error:  # shapes that are others, or a weight that was left as it was drawn
        raise CompressError(f"{file} does not fit config.json: {first_line(error)}", FIX) from None
    _require_the_same(file, own_tensors(model, places), tensors)
    if broken:
        raise CompressError(f"{file} holds no weights for {', '.join(broken)}.", FIX)
    return model


def find_places(model: nn.Module) -> dict[str, str]:
    """Each further name of a module that has several → its first."""
    first: dict[int, str] = {}
    names = ((name, id(module)) for name, module in model.named_modules(remove_duplicate=False))
    return {name: first[key] for name, key in names if first.setdefault(key, name) != name}


def share_again(model: nn.Module, places: Mapping[str, str]) -> None:
    """Put a module that quanto has replaced at its first name there at its others, too."""
    for name, first in places.items():
        model.set_submodule(name, model.get_submodule(first))


def own_tensors(model: nn.Module, places: Mapping[str, str]) -> dict[str, Tensor]:
    """A model's tensors, those of a shared module once."""
    again = tuple(f"{name}." for name in places)
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(again)}


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, str]]]:
    try:
        with safe_open(file, framework="pt") as opened:
            quantized = json.loads((opened.metadata() or {})[MAP])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
    except Exception as error:  # safetensors' own error type is no public one
        raise CompressError(f"{file} is no whole file of quanto's: {first_line(error)}.", FIX) from None
    known = {"none", *qtypes}
    if not isinstance(quantized, dict) or not all(
        isinstance(each, dict) and {each.get("weights"), each.get("activations")} <= known
        for each in quantized.values()
    ):
        raise CompressError(f"{file} does not say what was quantized in a way that quanto knows.", FIX)
    return tensors, quantized


def _require_the_same(file: Path, loaded: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    missing, surplus = sorted(loaded.keys() - stored.keys()), sorted(stored.keys() - loaded.keys())
    if missing or surplus:
        told = [
            f"{what} {names[0]} and {len(names) - 1} more"
            for what, names in (("lacks", missing), ("has beyond it", surplus))
            if names
        ]
        raise CompressError(f"{file} does not fit config.json: it {', it '.join(told)}.", FIX)


def _find_broken(model: nn.Module, names: Iterable[str]) -> list[str]:
    """The layers whose weights are of another shape, or not finite."""
    layers: dict[str, Any] = {name: model.get_submodule(name) for name in names}
    weights: dict[str, Tensor] = {name: layer.weight.dequantize() for name, layer in layers.items()}
    return [
        name
        for name, layer in layers.items()
        if weights[name].shape != (layer.out_features, layer.in_features)
        or not bool(torch.isfinite(weights[name]).all())
    ]
