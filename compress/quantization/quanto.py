"""Weights of products in 8 or 4 bits by optimum-quanto: PyTorch, activations as they are."""

import copy
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import optimum.quanto
from optimum.quanto import QLinear, quantization_map
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from compress.artefacts import QUANTO_FILE
from compress.encoder import Encoder, load_config, model_inputs, output_layer
from compress.engines.quanto import MAP, QuantoEngine, find_places, load_quanto, own_tensors, share_again
from compress.errors import CompressError
from compress.parity import compare_answers, random_batches, require_parity
from compress.quantization.modules import count_uses, list_kept, name_of, require_some
from compress.quantization.sensitivity import Trial, choose_kept
from compress.quantization.summary import QuantizationSummary
from compress.storage import removed_on_failure

REMEDY = (
    "Let what hurts stay in full precision (--max-drop 0.01, or --keep MODULE), or take --method quanto-int8."
)
PARITY_BOUNDS = {"qint8": 0.1, "qint4": 0.5}
"""Largest relative error of the logits, by the type of the weights, on random token ids at several lengths and paddings.

Activations stay in fp32, so nothing depends on what is beside a row in its batch. MiniLM-L6 and two
students of it, trained on a task, show 0.01 to 0.03 in 8 bits and 0.05 to 0.22 in 4.
"""


def quantize_weights(
    encoder: Encoder,
    directory: Path,
    *,
    weights: str,
    parity_bound: float | None = None,
    keep: Sequence[str] = (),
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a classifier as `directory/quanto.safetensors`, the weights of its products in fewer bits.

    What is compared with the model is what can be loaded from the directory again.

    Args:
        encoder: A classifier in fp32; it comes back as it was.
        directory: Where the file goes; the model's `config.json` lies there.
        weights: `qint8` or `qint4`.
        parity_bound: Largest relative error of the logits; default that of the type.
        keep: Layers that stay in fp32; `*` stands for any part of a name.
        trial: Where a score has to hold: what hurts it stays in fp32, too.

    Raises:
        InvalidInputError: `keep` names a layer that is not there.
        CompressError: A product stayed in fp32 that should not, or the logits are further from the model's than the bound.
    """
    layers, head = list_layers(encoder.model), name_of(encoder.model, output_layer(encoder.model))

    def rewrite(kept: Collection[str]) -> PreTrainedModel:
        return _quantize(encoder.model, weights, exclude={head, *kept})

    kept = choose_kept(layers, lambda names: QuantoEngine(rewrite(names)).run, keep=keep, trial=trial)
    require_some(layers, kept.modules)
    model = rewrite(kept.modules)
    quantized = quantization_map(model)
    if set(quantized) != set(layers) - kept.modules:
        left = sorted(set(layers) - kept.modules - set(quantized))
        raise CompressError(
            f"quanto left these products in fp32: {', '.join(left)}.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    file = directory / QUANTO_FILE
    _write(file, model, quantized)
    batches = random_batches(model.config, model_inputs(encoder.tokenizer))
    bound = PARITY_BOUNDS[weights] if parity_bound is None else parity_bound
    with removed_on_failure(file):
        loaded = load_quanto(directory, load_config(directory))
        comparison = compare_answers(QuantoEngine(loaded).run, encoder.model, batches)
        require_parity(comparison, bound, remedy=REMEDY)
    return QuantizationSummary(
        file.stat().st_size,
        count_uses(loaded, QLinear, batches[0]),
        list_kept(loaded, QLinear, chosen=kept.modules),
        comparison,
        kept.facts,
    )


def list_layers(model: PreTrainedModel) -> list[str]:
    """The names of the layers that are quantized: all but the one that gives the logits."""
    head = output_layer(model)
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head
    ]


def _quantize(model: PreTrainedModel, weights: str, *, exclude: Collection[str]) -> PreTrainedModel:
    """A copy of a model, the weights of its layers in fewer bits, what is shared still shared."""
    quantized = copy.deepcopy(model)
    places = find_places(quantized)
    optimum.quanto.quantize(quantized, weights=weights, exclude=sorted(exclude))
    share_again(quantized, places)
    optimum.quanto.freeze(quantized)
    return quantized


def _write(file: Path, model: nn.Module, quantized: dict[str, Any]) -> None:
    temporary = file.with_name(f".{file.name}")
    tensors = {name: tensor.contiguous() for name, tensor in own_tensors(model, find_places(model)).items()}
    try:
        save_file(tensors, temporary, metadata={"format": "pt", MAP: json.dumps(quantized)})
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
