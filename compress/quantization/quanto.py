"""Weights of products in 8 or 4 bits by optimum-quanto: PyTorch, activations as they are."""

import copy
import json
from pathlib import Path
from typing import Any

import optimum.quanto
from optimum.quanto import QLinear, quantization_map
from safetensors.torch import save_file
from torch import nn

from compress.artefacts import QUANTO_FILE
from compress.encoder import Encoder, load_config, model_inputs, output_layer
from compress.engines.quanto import MAP, QuantoEngine, find_places, load_quanto, own_tensors, share_again
from compress.errors import CompressError
from compress.parity import compare_answers, random_batches
from compress.quantization.modules import count_uses, list_kept, name_of
from compress.quantization.summary import QuantizationSummary

PARITY_BOUNDS = {"qint8": 0.1, "qint4": 0.5}
"""Largest relative error of the logits, by the type of the weights, on random token ids at several lengths and paddings.

Activations stay in fp32, so nothing depends on what is beside a row in its batch.
"""


def quantize_weights(
    encoder: Encoder, directory: Path, *, weights: str, parity_bound: float | None = None
) -> QuantizationSummary:
    """Write a classifier as `directory/quanto.safetensors`, the weights of its products in fewer bits.

    What is compared with the model is what can be loaded from the directory again.

    Args:
        encoder: A classifier in fp32; it comes back as it was.
        directory: Where the file goes; the model's `config.json` lies there.
        weights: `qint8` or `qint4`.
        parity_bound: Largest relative error of the logits; default that of the type.

    Raises:
        CompressError: A product stayed in fp32, or the logits are further from the model's than the bound.
    """
    model = copy.deepcopy(encoder.model)
    places = find_places(model)
    wanted = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    head = name_of(model, output_layer(model))
    optimum.quanto.quantize(model, weights=weights, exclude=[head])
    share_again(model, places)
    optimum.quanto.freeze(model)
    quantized = quantization_map(model)
    if set(quantized) != wanted - {head}:
        left = sorted(wanted - {head} - set(quantized))
        raise CompressError(
            f"quanto left these products in fp32: {', '.join(left)}.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    _write(directory / QUANTO_FILE, model, places, quantized)
    loaded = load_quanto(directory, load_config(directory))
    batches = random_batches(model.config, model_inputs(encoder.tokenizer))
    engine = QuantoEngine(loaded)
    comparison = compare_answers(engine.run, encoder.model, batches)
    bound = PARITY_BOUNDS[weights] if parity_bound is None else parity_bound
    if not comparison.relative_error <= bound:  # NaN fails, too
        (directory / QUANTO_FILE).unlink()
        raise CompressError(
            f"{weights} logits differ from the model's by {comparison.relative_error:.2f} of their size (root mean "
            f"square over batches {comparison.shapes}); the bound is {bound:g}.",
            "Take more bits: --method quanto-int8.",
        )
    uses = count_uses(loaded, QLinear, batches[0])
    kept = list_kept(loaded, QLinear)
    return QuantizationSummary((directory / QUANTO_FILE).stat().st_size, uses, kept, comparison)


def _write(file: Path, model: nn.Module, places: dict[str, str], quantized: dict[str, Any]) -> None:
    temporary = file.with_name(f".{file.name}")
    tensors = {name: tensor.contiguous() for name, tensor in own_tensors(model, places).items()}
    try:
        save_file(tensors, temporary, metadata={"format": "pt", MAP: json.dumps(quantized)})
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
