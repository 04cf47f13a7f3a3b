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
from compress.recipes.quantization import DynamicInt8, settle

DEFAULT = settle(DynamicInt8())

PARITY_BOUND = 0.25
"""Largest relative error of the logits by default, beside those of the simulated rounding.

Each activation tensor has one scale for the whole batch, which the last layer of the graph, that of the pooled position
alone, takes from fewer numbers than the model's. MiniLM-L6 shows 0.05, `albert-tiny` up to 0.03; a graph that is broken
1 and more. Rounding itself moves MiniLM-L6's logits by 0.11 to 0.26 of their size: that is noted, and left for the score
to judge.
"""


def quantize_dynamic_int8(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    method: DynamicInt8 = DEFAULT,
    parity_bound: float = PARITY_BOUND,
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a sequence classifier as `directory/model.onnx`, its weights and embedding tables in 8 bits.

    Weights of products are symmetric int8, embedding tables uint8 with one scale each.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        method: Which scales and bits a weight has, and what stays in fp32; by default as suits this machine.
        parity_bound: Largest relative error of the logits, beside those of the simulated rounding.
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
                per_channel=method.per_channel,
                reduce_range=bool(method.reduce_range),  # of products alone: rows of tables are not added up
                weight_type=QuantType.QInt8,  # with QUInt8 the kernels take almost twice as long
                nodes_to_exclude=users_of(exported.weights, kept),
            )
            return onnx.load(target)

    return write_quantized(
        model,
        directory,
        input_names=input_names,
        rewrite=rewrite,
        simulated=method,
        parity_bound=parity_bound,
        keep=method.keep,
        trial=trial,
    )
