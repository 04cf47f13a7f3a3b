"""How each method of quantization rewrites a model: a function for each recipe, its backend imported when it is used."""

import logging
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from compress.encoder import Encoder, build_empty, model_inputs
from compress.quantization.calibration import CalibrationData
from compress.quantization.sensitivity import Trial
from compress.quantization.summary import QuantizationSummary
from compress.quantization.weights import match_modules
from compress.recipes.quantization import (
    Bf16,
    BnbInt8,
    BnbNf4,
    DynamicInt8,
    Fp16,
    Method,
    OpenVinoInt8,
    PackedInt4,
    PackedInt8,
    QuantoInt4,
    QuantoInt8,
    SelectiveMethod,
    StaticInt8,
)

logger = logging.getLogger(__name__)


def rewrite(method: Method, encoder: Encoder, directory: Path, data: CalibrationData) -> QuantizationSummary:
    """Say what a method will leave as it is, then `quantize`."""
    for what, why in method.leaves.items():
        logger.info("  in full precision: %s (%s)", what, why)
    return quantize(method, encoder, directory, data)


@singledispatch
def require_fit(method: Method, config: PretrainedConfig) -> None:
    """Refuse a model that a method cannot take, as far as its shape tells.

    Raises:
        InvalidInputError: A module is to be kept that is not there.
        CompressError: The method cannot take such a model.
    """


@require_fit.register
def _with_modules_to_keep(method: SelectiveMethod, config: PretrainedConfig) -> None:
    named = build_empty(config).named_modules()
    match_modules(
        method.keep, [name for name, module in named if isinstance(module, nn.Linear | nn.Embedding)]
    )


@require_fit.register
def _fit_for_bnb(method: BnbInt8 | BnbNf4, config: PretrainedConfig) -> None:
    from compress.quantization.bnb import require_able

    require_able(build_empty(config), method.kind.removeprefix("bnb-"), keep=method.keep)


@require_fit.register
def _fit_for_quanto(method: QuantoInt8 | QuantoInt4, config: PretrainedConfig) -> None:
    from compress.quantization.quanto import list_layers

    match_modules(method.keep, list_layers(build_empty(config)))


@singledispatch
def quantize(method: Method, encoder: Encoder, directory: Path, data: CalibrationData) -> QuantizationSummary:
    """Write a model in fewer bits; each method registers its own way.

    Args:
        method: What to do; its type chooses the function.
        encoder: A classifier in fp32 with its tokenizer; it comes back as it was.
        directory: Where weights or graph go. Tokenizer and `config.json` are there already; a backend that needs
            another configuration writes its own over it.
        data: What the method may see of the task.

    Raises:
        CompressError: The model is nothing for this method, not all was quantized, or the logits are further from the
            model's than the method's bound.
    """
    raise NotImplementedError(f"no function for {type(method).__name__}")


@quantize.register
def _dynamic_int8(
    method: DynamicInt8, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.dynamic import quantize_dynamic_int8

    return quantize_dynamic_int8(
        encoder.model,
        directory,
        input_names=model_inputs(encoder.tokenizer),
        method=method,
        trial=_trial(method, encoder, data),
    )


@quantize.register
def _static_int8(
    method: StaticInt8, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.static import quantize_static_int8

    return quantize_static_int8(
        encoder.model,
        directory,
        input_names=model_inputs(encoder.tokenizer),
        calibration=data.batches(encoder, samples=method.samples),
        batches=data.probes(encoder),
        per_channel=method.per_channel,
        reduce_range=method.reduce_range,
        graph=method.graph,
        ranges=method.ranges,
        **_choice(method, encoder, data),
    )


@quantize.register
def _packed(
    method: PackedInt8 | PackedInt4, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.packed import quantize_packed

    return quantize_packed(
        encoder.model,
        directory,
        input_names=model_inputs(encoder.tokenizer),
        method=method,
        trial=_trial(method, encoder, data),
    )


@quantize.register
def _half(
    method: Fp16 | Bf16, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.half import write_half_onnx, write_half_safetensors

    dtype = torch.float16 if isinstance(method, Fp16) else torch.bfloat16
    if method.format == "transformers":
        return write_half_safetensors(encoder, directory, dtype=dtype)
    names = model_inputs(encoder.tokenizer)
    return write_half_onnx(encoder.model, directory, input_names=names, dtype=dtype)


@quantize.register
def _openvino_int8(
    method: OpenVinoInt8, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.openvino import quantize_openvino_int8

    return quantize_openvino_int8(
        encoder,
        directory,
        calibration=data.batches(encoder, samples=method.samples),
        batches=data.probes(encoder),
        **_choice(method, encoder, data),
    )


@quantize.register
def _bnb(
    method: BnbInt8 | BnbNf4, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.bnb import quantize_bnb

    return quantize_bnb(
        encoder,
        directory,
        weights=method.kind.removeprefix("bnb-"),
        batches=data.probes(encoder),
        **_choice(method, encoder, data),
    )


@quantize.register
def _quanto(
    method: QuantoInt8 | QuantoInt4, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.quanto import quantize_weights

    weights = f"q{method.kind.removeprefix('quanto-')}"
    return quantize_weights(encoder, directory, weights=weights, **_choice(method, encoder, data))


def _choice(method: SelectiveMethod, encoder: Encoder, data: CalibrationData) -> dict[str, Any]:
    """What stays in full precision, as backends are told that do not know recipes."""
    return {"keep": method.keep, "trial": _trial(method, encoder, data)}


def _trial(method: SelectiveMethod, encoder: Encoder, data: CalibrationData) -> Trial | None:
    return None if method.max_drop is None else Trial(encoder, data, method.max_drop)
