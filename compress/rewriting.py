"""How each method of quantization rewrites a model: a function for each recipe, its backend imported when it is used."""

import logging
from functools import singledispatch
from pathlib import Path

import numpy as np

from compress.encoder import Encoder, model_inputs
from compress.engines import Inputs
from compress.quantization.calibration import CalibrationData, token_batches
from compress.quantization.summary import QuantizationSummary
from compress.recipes.quantization import (
    BnbInt8,
    BnbNf4,
    DynamicInt8,
    Method,
    OpenVinoInt8,
    QuantoInt4,
    QuantoInt8,
)

logger = logging.getLogger(__name__)

TRIAL_TEXTS, TRIAL_BATCH = 64, 8
"""Held-out texts on which an artefact whose activations are quantized is compared with its model."""


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
        per_channel=method.per_channel,
    )


@quantize.register
def _openvino_int8(
    method: OpenVinoInt8, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.openvino import quantize_openvino_int8

    return quantize_openvino_int8(
        encoder,
        directory,
        calibration=token_batches(encoder, data.sample(method.samples), batch_size=1),
        trial=_trial(encoder, data),
    )


@quantize.register
def _bnb(
    method: BnbInt8 | BnbNf4, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.bnb import quantize_bnb

    weights = method.kind.removeprefix("bnb-")
    return quantize_bnb(encoder, directory, weights=weights, trial=_trial(encoder, data))


@quantize.register
def _quanto(
    method: QuantoInt8 | QuantoInt4, encoder: Encoder, directory: Path, data: CalibrationData
) -> QuantizationSummary:
    from compress.quantization.quanto import quantize_weights

    return quantize_weights(encoder, directory, weights=f"q{method.kind.removeprefix('quanto-')}")


def _trial(encoder: Encoder, data: CalibrationData) -> list[Inputs]:
    """Texts that the model was not taught, in batches of like length with their padding."""
    split = data.held_out
    return token_batches(
        encoder, split.select(np.arange(min(TRIAL_TEXTS, len(split))), name="trial"), batch_size=TRIAL_BATCH
    )
