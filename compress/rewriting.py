"""How each method of quantization rewrites a model: a function for each recipe, its backend imported when it is used."""

import logging
from functools import singledispatch
from pathlib import Path

from compress.encoder import Encoder, model_inputs
from compress.quantization.calibration import CalibrationData
from compress.quantization.summary import QuantizationSummary
from compress.recipes.quantization import DynamicInt8, Method

logger = logging.getLogger(__name__)


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
