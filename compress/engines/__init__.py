"""What runs a model, one engine a file, each imported when a directory holds what it runs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from compress.artefacts import ONNX_FILE, OPENVINO_FILE, find_format
from compress.environment import Device, installed_version, multiplies_bfloat16, refuse_telemetry
from compress.errors import CompressError
from compress.runs import PARTS, Part

if TYPE_CHECKING:
    from transformers import PretrainedConfig

refuse_telemetry()  # before any engine is imported
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it would recommend a package at each import

Inputs = Mapping[str, NDArray[np.int64]]
Logits = NDArray[np.float32]
Milliseconds = dict[Part, float]
"""Of one run, every part named: what belongs to none, and what the runtime does between them, is `other`."""


class Engine(Protocol):
    """What runs a model: token ids `[B, L]` in, logits `[B, C]` out."""

    name: str
    device: Device

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""


@runtime_checkable
class Doubter(Protocol):
    """An engine that may compute another answer here than elsewhere."""

    def doubt(self) -> str | None:
        """Why the answers may be worse here than elsewhere; None where nothing says so."""


@runtime_checkable
class Profiler(Protocol):
    """An engine that can say what each part of its model takes."""

    def profile(self, batches: Sequence[Inputs]) -> list[Milliseconds]:
        """What each part took, batch by batch, or in the mean of them all, which is one; what is run first is no part of it."""


def split_time(total: float, parts: Mapping[Part, float]) -> Milliseconds:
    """The milliseconds of a run by part: what the parts leave of the total is `other`'s."""
    told = dict.fromkeys(PARTS, 0.0) | {part: spent for part, spent in parts.items() if part != "other"}
    return {**told, "other": max(0.0, total - sum(told.values()))}


def open_engine(
    path: Path,
    config: "PretrainedConfig",
    input_names: Sequence[str],
    *,
    threads: int | None = None,
    bf16: bool = False,
) -> Engine:
    """What runs the model in a directory.

    Args:
        path: Holds a finished artefact.
        config: Its configuration.
        input_names: What the tokenizer beside it makes.
        threads: Of the engine; default the runtime's own choice.
        bf16: Whether PyTorch computes in bfloat16; in any case where the weights are stored so and the processor
            multiplies it natively. Other files have their own precision.

    Raises:
        CompressError: Files are damaged, or not of one another; or the engine's package is missing.
    """
    match find_format(path):
        case "onnx":
            from compress.engines.onnx import OnnxEngine

            graph = OnnxEngine(path / ONNX_FILE, threads=threads)
            graph.interface.require_fitting(input_names, labels=int(config.num_labels or 0))
            return graph
        case "openvino":
            _require_openvino(path)
            from compress.engines.openvino import OpenVinoEngine

            pair = OpenVinoEngine(path / OPENVINO_FILE, threads=threads)
            pair.interface.require_fitting(input_names, labels=int(config.num_labels or 0))
            return pair
        case "quanto":
            from compress.engines.quanto import QuantoEngine, load_quanto

            return QuantoEngine(load_quanto(path, config), threads=threads)
        case "safetensors":
            from compress.encoder import load_classifier
            from compress.engines.pytorch import TorchEngine

            model = load_classifier(path, config, complete=True, quantized=True)
            return TorchEngine(model, threads=threads, bf16=_takes_bfloat16(config, bf16))


def import_libraries(path: Path, config: "PretrainedConfig") -> None:
    """Import all that `open_engine` will need there, a model's own module included, so that loading can be timed."""
    from compress.encoder import build_empty

    match find_format(path):
        case "onnx":
            import compress.engines.onnx
        case "openvino":
            _require_openvino(path)
            import compress.engines.openvino
        case "quanto":
            import compress.engines.quanto  # noqa: F401

            build_empty(config)
        case "safetensors":
            if getattr(config, "quantization_config", None) is not None:
                import bitsandbytes  # noqa: F401
            build_empty(config)


def _require_openvino(path: Path) -> None:
    if installed_version("openvino") is None:
        raise CompressError(
            f"{path / OPENVINO_FILE} is run by OpenVINO, which is not installed here.",
            "Install it: pip install 'compress-encoders[openvino]'.",
        )


def _takes_bfloat16(config: "PretrainedConfig", wanted: bool) -> bool:
    """Whether PyTorch computes a model in bfloat16; bitsandbytes' weights have a precision of their own."""
    if getattr(config, "quantization_config", None) is not None:
        return False
    stored = str(config.dtype).removeprefix("torch.") == "bfloat16"
    return wanted or (stored and multiplies_bfloat16())
