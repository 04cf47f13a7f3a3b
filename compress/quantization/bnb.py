"""bitsandbytes: weights of products in int8 or in nf4, saved by `save_pretrained`, loaded by plain `from_pretrained`.

int8 is LLM.int8 (Dettmers et al. 2022): activations are quantized a row, columns with outliers stay apart. nf4 (Dettmers
et al. 2023) has 16 values, a scale for 64 weights; products are computed in bfloat16 where the processor can.
"""

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig, PreTrainedModel

from compress.encoder import Encoder, load_classifier, load_config, output_layer
from compress.engines import Inputs
from compress.engines.pytorch import TorchEngine
from compress.errors import CompressError
from compress.models.sharing import is_partially_shared
from compress.parity import compare_answers, require_parity
from compress.quantization.modules import count_uses, list_kept, name_of, require_some
from compress.quantization.sensitivity import Answer, Trial, choose_kept
from compress.quantization.summary import QuantizationSummary
from compress.quantization.weights import match_modules
from compress.storage import removed_on_failure

SETTINGS: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True},
    "nf4": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": torch.float32,
    },
}
PARITY_BOUNDS = {"int8": 0.3, "nf4": 0.5}
"""Largest relative error of the logits, by the type of the weights, on texts of the task.

MiniLM-L6, trained on a task, shows 0.03 in int8 and 0.11 in nf4, an `albert-tiny` 0.01 in int8.
"""
NF4_INPUTS, NF4_OUTPUTS = 64, 32
"""Of these multiples a layer's width must be on either side: its kernel for bfloat16 processors knows no others."""
POOLER = "pooler"
REMEDY = "Let what hurts stay in full precision (--max-drop 0.01, or --keep MODULE), or take another method."


def quantize_bnb(
    encoder: Encoder,
    directory: Path,
    *,
    weights: str,
    batches: list[Inputs],
    parity_bound: float | None = None,
    keep: Sequence[str] = (),
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a classifier as `directory/model.safetensors` and `config.json`, the weights of its products in fewer bits.

    What is compared with the model is what can be loaded from the directory again.

    Args:
        encoder: In fp32; it comes back as it was.
        directory: Where weights and configuration go.
        weights: `int8` or `nf4`.
        batches: Inputs `[B, L]` to compare on.
        parity_bound: Largest relative error of the logits on them; default that of the type.
        keep: Layers that stay in fp32; `*` stands for any part of a name.
        trial: Where a score has to hold: what hurts it stays in fp32, too.

    Raises:
        InvalidInputError: `keep` names a layer that is not there.
        CompressError: bitsandbytes cannot take the model's layers, a product stayed in fp32 that should not, or the
            logits are further from the model's than the bound.
    """
    model = encoder.model
    require_able(model, weights, keep=keep)
    layers, heads = _choose_layers(model)

    def answer(kept: frozenset[str]) -> Answer:
        return TorchEngine(_quantize(model, weights, skip=heads | kept)).run

    kept = choose_kept(list(layers), answer, keep=keep, trial=trial)
    require_some(layers, kept.modules)
    _quantize(model, weights, skip=heads | kept.modules).save_pretrained(
        directory
    )  # before it has answered: its kernels pack weights anew as they first run
    file, kind = directory / "model.safetensors", _kind(weights)
    with removed_on_failure(file):
        loaded = load_classifier(directory, load_config(directory), complete=True, quantized=True)
        found = {name for name, module in loaded.named_modules() if isinstance(module, kind)}
        if left := sorted(layers.keys() - kept.modules - found):
            raise CompressError(
                f"bitsandbytes left these products in fp32: {', '.join(left)}.",
                "Install the tested versions (constraints.txt); if it stays, report the architecture.",
            )
        in_float = list_kept(loaded, kind, chosen=kept.modules)
        uses = count_uses(loaded, kind, batches[0])
        comparison = compare_answers(TorchEngine(loaded).run, model, batches)
        bound = PARITY_BOUNDS[weights] if parity_bound is None else parity_bound
        require_parity(comparison, bound, remedy=REMEDY)
    return QuantizationSummary(file.stat().st_size, uses, in_float, comparison, kept.facts)


def _quantize(model: PreTrainedModel, weights: str, *, skip: Collection[str]) -> PreTrainedModel:
    """A copy of a model as bitsandbytes makes it while it is loaded."""
    settings = BitsAndBytesConfig(**SETTINGS[weights], llm_int8_skip_modules=sorted(skip))  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        model.save_pretrained(scratch)
        quantized: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            scratch, quantization_config=settings, dtype=torch.float32
        )
    return quantized


def _kind(weights: str) -> type[nn.Module]:
    import bitsandbytes

    kinds = {"int8": bitsandbytes.nn.Linear8bitLt, "nf4": bitsandbytes.nn.Linear4bit}
    return kinds[weights]  # type: ignore[no-any-return]


def _choose_layers(model: PreTrainedModel) -> tuple[dict[str, nn.Linear], set[str]]:
    """The layers that are quantized, by name, and the names of those that are not: pooler and classifier."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    head = name_of(model, output_layer(model)).partition(".")[0]
    skipped = {name for name in layers if {head, POOLER} & set(name.split("."))}
    return {name: layer for name, layer in layers.items() if name not in skipped}, skipped


def require_able(model: PreTrainedModel, weights: str, *, keep: Sequence[str] = ()) -> None:
    """Refuse what bitsandbytes cannot take; all layers that it cannot are listed.

    Args:
        model: With or without weights.
        weights: `int8` or `nf4`.
        keep: Layers that stay in fp32; `*` stands for any part of a name.

    Raises:
        InvalidInputError: `keep` names a layer that is not there.
        CompressError: There are some that it cannot.
    """
    layers, _ = _choose_layers(model)
    kept = match_modules(keep, list(layers))
    if is_partially_shared(model):
        raise CompressError(
            "bitsandbytes replaces a module at one of its places only, and this model's layers share theirs in part.",
            "Give each layer a copy first: compress export MODEL --format transformers. Or take --method quanto-int8.",
        )
    unfit = [
        f"{name} ({layer.in_features} × {layer.out_features})"
        for name, layer in layers.items()
        if name not in kept and (layer.in_features % NF4_INPUTS or layer.out_features % NF4_OUTPUTS)
    ]
    if weights == "nf4" and unfit:
        raise CompressError(
            f"nf4 needs inputs in multiples of {NF4_INPUTS} and outputs in multiples of {NF4_OUTPUTS}; "
            f"{len(unfit)} of {len(layers)} layers have others: {', '.join(unfit)}.",
            "Take --method bnb-int8, or quanto-int4, which packs any width; or leave these as they are (--keep MODULE).",
        )
