"""Dynamic int8 for ONNX Runtime: weights stored in 8 bits, activations quantized as they come."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import PreTrainedModel

from compress.quantization.onnx import Exported, write_quantized
from compress.quantization.sensitivity import Trial
from compress.quantization.summary import QuantizationSummary
from compress.quantization.weights import users_of

PARITY_BOUND = 0.5
"""Largest relative error of the logits (`LogitComparison.relative_error`) by default.

Each activation tensor has one scale for the whole batch, so a row's logits depend on the rows and the
padding beside it, and no bound near fp32's holds; two int8 answers for one row differ by at most twice
the error. MiniLM-L6 shows 0.11 to 0.23 with a scale a channel and up to 0.26 without, its classifier
trained or not; a small ALBERT 0.02; a graph that is broken shows 1 and more. Agreement of the
largest logit is recorded and not bounded: near-ties flip at any error.
"""


def quantize_dynamic_int8(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    per_channel: bool = True,
    parity_bound: float = PARITY_BOUND,
    keep: Sequence[str] = (),
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a sequence classifier as `directory/model.onnx`, its weights and embedding tables in 8 bits.

    Weights of products are symmetric int8, embedding tables uint8 with one scale each.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        per_channel: A scale for each column of a weight, not one for all.
        parity_bound: Largest relative error of the logits.
        keep: Modules that stay in fp32.
        trial: Where a score has to hold.

    Raises:
        CompressError: As `write_quantized` does.
    """

    def rewrite(exported: Exported, kept: frozenset[str]) -> onnx.ModelProto:
        with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
            source, target = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
            onnx.save(exported.model, source)
            quantize_dynamic(
                source,
                target,
                op_types_to_quantize=["MatMul", "Gather"],
                per_channel=per_channel,
                weight_type=QuantType.QInt8,  # with QUInt8 the kernels take almost twice as long
                nodes_to_exclude=users_of(exported.weights, kept),
            )
            return onnx.load(target)

    return write_quantized(
        model,
        directory,
        input_names=input_names,
        rewrite=rewrite,
        parity_bound=parity_bound,
        keep=keep,
        trial=trial,
    )
