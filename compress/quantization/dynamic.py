"""Dynamic int8 for ONNX Runtime: weights stored in 8 bits, activations quantized as they come.

ONNX Runtime's `quantize_dynamic` does the work. It passes over in silence whatever it does not
recognize (of an ALBERT traced as it is, most uses of the shared layer), so what it leaves is checked
against the graph it was given.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import PreTrainedModel

from compress.artefacts import ONNX_FILE
from compress.errors import CompressError
from compress.exporting import export_onnx
from compress.graphs import float_matrices, write_graph
from compress.parity import compare_logits, open_session
from compress.quantization.summary import KeptInFloat, QuantizationSummary

PARITY_BOUND = 0.5
"""Largest relative error of the logits (`LogitComparison.relative_error`) by default.

Each activation tensor has one scale for the whole batch, so a row's logits depend on the rows and the
padding beside it, and no bound near fp32's holds; two int8 answers for one row differ by at most twice
the error. MiniLM-L6 shows 0.11 to 0.23 with a scale a channel and up to 0.26 without, its classifier
trained or not; a small ALBERT 0.02; a graph that is broken shows 1 and more. Agreement of the
largest logit is recorded and not bounded: near-ties flip at any error.
"""

SMALL_BYTES = 4096
"""A matrix up to this size may stay in fp32."""


def quantize_dynamic_int8(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    per_channel: bool = True,
    parity_bound: float = PARITY_BOUND,
) -> QuantizationSummary:
    """Write a sequence classifier as `directory/model.onnx`, its weights and embedding tables in 8 bits.

    Inputs and output are those of `export_onnx`. Weights of products are symmetric int8, embedding
    tables uint8 with one scale each, and a shared layer is stored once. The file is there whole,
    after all checks, or not at all; the model comes back as it was.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        per_channel: A scale for each column of a weight, not one for all.
        parity_bound: Largest relative error of the logits.

    Raises:
        CompressError: A product or a table stayed in fp32, a shared weight was stored twice, or the
            logits are further from the model's than the bound.
    """
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        source, target = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        export_onnx(model, source, input_names=input_names)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gather"],  # `Gemm` becomes `MatMul` and `Add` first
            per_channel=per_channel,
            weight_type=QuantType.QInt8,  # with QUInt8 the kernels take almost twice as long
        )
        exported, quantized = onnx.load(source), onnx.load(target)
    _keep_sums_apart(quantized.graph)
    matmuls = require_quantized(exported.graph, quantized.graph)
    comparison = compare_logits(open_session(quantized), model)
    if not comparison.relative_error <= parity_bound:  # NaN fails, too
        raise CompressError(
            f"int8 logits differ from the model's by {comparison.relative_error:.2f} of their size (root "
            f"mean square over batches {comparison.shapes}); the bound is {parity_bound:g}.",
            "Keep per_channel on; or, if the score on the task holds, raise parity_bound.",
        )
    file = directory / ONNX_FILE
    write_graph(quantized, file)
    return QuantizationSummary(file.stat().st_size, matmuls, _kept_in_float(quantized.graph), comparison)


def require_quantized(exported: onnx.GraphProto, quantized: onnx.GraphProto) -> int:
    """Check that a graph was quantized throughout.

    Args:
        exported: In fp32, as `export_onnx` writes it.
        quantized: What became of it.

    Returns:
        The number of products with int8 weights.

    Raises:
        CompressError: There are fewer than the fp32 graph has products with constant weights, or they
            hold more or fewer distinct weights, or an fp32 matrix is left.
    """
    matrices = float_matrices(exported)
    wanted = [node.input[1] for node in exported.node if node.op_type in {"MatMul", "Gemm"}]
    wanted = [name for name in wanted if name in matrices]
    types = {tensor.name: tensor.data_type for tensor in quantized.initializer}
    found = [node.input[1] for node in quantized.node if node.op_type == "MatMulInteger"]
    found = [name for name in found if types.get(name) == onnx.TensorProto.INT8]
    left = {name: tensor.ByteSize() for name, tensor in float_matrices(quantized).items()}
    left = {name: size for name, size in left.items() if size > SMALL_BYTES}
    if (len(found), len(set(found))) != (len(wanted), len(set(wanted))) or left:
        raise CompressError(
            f"Not all was quantized: {len(found)} int8 products with {len(set(found))} weights, expected "
            f"{len(wanted)} with {len(set(wanted))}; matrices left in fp32: {left or 'none'}.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    return len(found)


def _keep_sums_apart(graph: onnx.GraphProto) -> None:
    """Write each `Add` before a `LayerNormalization` as a `Sum`.

    ONNX Runtime would fuse some of the pairs into `SkipLayerNormalization`, whose CPU kernel takes six
    times as long as the two nodes (1.31, 1 × 128): a tenth of an int8 model's time. A `Sum` of two is
    the same operation, and is left alone.
    """
    normalized = {node.input[0] for node in graph.node if node.op_type == "LayerNormalization"}
    for node in graph.node:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"


def _kept_in_float(graph: onnx.GraphProto) -> dict[str, KeptInFloat]:
    kept = {}
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.dims:
            continue
        if tensor.name.endswith("_scale"):  # so `quantize_dynamic` names them
            reason = "scales of int8 weights"
        elif len(tensor.dims) > 1:
            reason = f"matrices of at most {SMALL_BYTES} bytes"
        else:
            reason = "biases and layer norms: vectors, added and scaled in fp32"
        kept[tensor.name] = KeptInFloat(len(tensor.raw_data) or 4 * len(tensor.float_data), reason)
    return kept
