"""From a model to a quantized file for ONNX Runtime: what all its methods have in common.

A method rewrites the exported graph. What it leaves is checked against the graph that it was given, since ONNX Runtime's
quantizers pass over in silence whatever they do not recognize (of an ALBERT traced as it is, most uses of the shared
layer).
"""

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from transformers import PreTrainedModel

from compress.artefacts import ONNX_FILE
from compress.engines import Inputs
from compress.errors import CompressError
from compress.exporting import export_onnx
from compress.graphs import float_matrices, write_graph
from compress.parity import compare_answers, open_session, random_batches, require_parity
from compress.quantization.modules import require_some
from compress.quantization.sensitivity import Answer, Trial, choose_kept
from compress.quantization.simulation import simulating
from compress.quantization.summary import KEPT, KeptInFloat, QuantizationSummary
from compress.quantization.weights import Weight, find_weights
from compress.recipes.quantization import SelectiveMethod

UNFAITHFUL = "Install the tested versions (constraints.txt); if it stays, report the architecture."
REMEDY = "Let what hurts stay in full precision (--max-drop 0.01, or --keep MODULE), or take a method of more bits."

SMALL_BYTES = 4096
"""A matrix up to this size may stay in fp32."""

PRODUCTS = {
    "MatMulInteger": (1, onnx.TensorProto.INT8),
    "QLinearMatMul": (3, onnx.TensorProto.INT8),
    "MatMulNBits": (1, onnx.TensorProto.UINT8),
    "MatMul": (1, onnx.TensorProto.INT8),  # by way of a `DequantizeLinear`
}
"""Products of quantized weights → which input the weight is, and its type there. With unsigned weights MatMulInteger's
kernels take almost twice as long."""


@dataclass(frozen=True)
class Exported:
    """A graph in fp32, each product a `MatMul`, each node named.

    Attributes:
        model: The graph.
        weights: Its weights, with their modules.
    """

    model: onnx.ModelProto
    weights: tuple[Weight, ...]


Rewrite = Callable[[Exported, frozenset[str]], onnx.ModelProto]
"""What a method does: a graph, and the modules that stay as they are → the quantized graph; the given one is left alone."""


def write_quantized(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    rewrite: Rewrite,
    parity_bound: float,
    simulated: SelectiveMethod | None = None,
    batches: Sequence[Inputs] | None = None,
    keep: Sequence[str] = (),
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a sequence classifier as `directory/model.onnx`, rewritten by a method.

    Inputs and output are those of `export_onnx`, and a shared layer is stored once. The file is there whole, after all
    checks, or not at all; the model comes back as it was.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        rewrite: The method.
        parity_bound: Largest relative error of the logits.
        simulated: The method, where its rounding is known: then the logits have to be those of the model with that
            rounding, and how far rounding moves them is noted alone. None bounds that.
        batches: What both are asked; default random token ids of several lengths.
        keep: Modules that stay in fp32; `*` stands for any part of a name.
        trial: Where a score has to hold: what hurts it stays in fp32, too.

    Raises:
        InvalidInputError: `keep` names a module that is not there.
        CompressError: A product or a table stayed in fp32 that should not, a shared weight was stored twice, or the
            logits are further from those that they are compared with than the bound.
    """
    exported = _export(model, input_names)
    kept = choose_kept(
        list(dict.fromkeys(weight.module for weight in exported.weights)),
        lambda modules: _answer(_finish(rewrite(exported, modules))),
        keep=keep,
        trial=trial,
    )
    require_some({weight.module for weight in exported.weights}, kept.modules)
    quantized = _finish(rewrite(exported, kept.modules))
    names = {weight.name for weight in exported.weights if weight.module in kept.modules}
    products = require_quantized(exported.model.graph, quantized.graph, kept=names)
    batches, answer = batches or random_batches(model.config, input_names), _answer(quantized)
    comparison = compare_answers(answer, model, batches)
    if simulated is None:
        require_parity(comparison, parity_bound, remedy=REMEDY)
    else:
        with simulating(model, simulated.model_copy(update={"keep": tuple(kept.modules)})):
            faithful = compare_answers(answer, model, batches)
        require_parity(faithful, parity_bound, of="those of the simulated rounding", remedy=UNFAITHFUL)
    file = directory / ONNX_FILE
    write_graph(quantized, file)
    left = _kept_in_float(quantized.graph, names)
    return QuantizationSummary(file.stat().st_size, products, left, comparison, kept.facts)


def require_quantized(
    exported: onnx.GraphProto, quantized: onnx.GraphProto, *, kept: Collection[str] = ()
) -> int:
    """Check that a graph was quantized throughout.

    Args:
        exported: In fp32, as `export_onnx` writes it.
        quantized: What became of it.
        kept: Weights that were to stay in fp32.

    Returns:
        The number of products with quantized weights.

    Raises:
        CompressError: There are fewer than the fp32 graph has products with constant weights, or they hold more or fewer
            distinct weights, or an fp32 matrix is left.
    """
    matrices = float_matrices(exported)
    wanted = [node.input[1] for node in exported.node if node.op_type in {"MatMul", "Gemm"}]
    wanted = [name for name in wanted if name in matrices and name not in kept]
    found = quantized_weights(quantized)
    left = {name: tensor.ByteSize() for name, tensor in float_matrices(quantized).items() if name not in kept}
    left = {name: size for name, size in left.items() if size > SMALL_BYTES and not _holds_scales(name)}
    if (len(found), len(set(found))) != (len(wanted), len(set(wanted))) or left:
        raise CompressError(
            f"Not all was quantized: {len(found)} quantized products with {len(set(found))} weights, expected "
            f"{len(wanted)} with {len(set(wanted))}; matrices left in fp32: {left or 'none'}.",
            UNFAITHFUL,
        )
    return len(found)


def quantized_weights(graph: onnx.GraphProto) -> list[str]:
    """The integer weight of each product that has one: a shared one once a use."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in graph.node:
        if node.op_type in PRODUCTS:
            slot, kind = PRODUCTS[node.op_type]
            name = sources.get(node.input[slot], node.input[slot])
            if types.get(name) == kind:
                found.append(name)
    return found


def use_microsoft_operators(model: onnx.ModelProto) -> None:
    """Declare ONNX Runtime's own operators in a graph that is to hold some."""
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def _export(model: PreTrainedModel, input_names: Sequence[str]) -> Exported:
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        source = Path(scratch) / "fp32.onnx"
        export_onnx(model, source, input_names=input_names)
        graph = ONNXModel(onnx.load(source))
    graph.replace_gemm_with_matmul()
    exported: onnx.ModelProto = graph.model
    for number, node in enumerate(exported.graph.node):
        node.name = (
            f"{node.op_type}_{number}"  # some have none, and quantizers tell nodes apart by their names
        )
    return Exported(exported, find_weights(exported.graph, model))


def _finish(quantized: onnx.ModelProto) -> onnx.ModelProto:
    """Write each `Add` before a `LayerNormalization` as a `Sum`.

    ONNX Runtime would fuse some of the pairs into `SkipLayerNormalization`, whose CPU kernel takes six times as long as
    the two nodes (1.31, 1 × 128): a tenth of an int8 model's time. A `Sum` of two is the same operation, and is left
    alone.
    """
    graph = quantized.graph
    normalized = {node.input[0] for node in graph.node if node.op_type == "LayerNormalization"}
    for node in graph.node:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"
    return quantized


def _answer(quantized: onnx.ModelProto) -> Answer:
    session = open_session(quantized)
    names = [node.name for node in session.get_inputs()]
    return lambda inputs: session.run(["logits"], {name: inputs[name] for name in names})[0]


def _kept_in_float(graph: onnx.GraphProto, kept: Collection[str]) -> dict[str, KeptInFloat]:
    found = {}
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.dims:
            continue
        if tensor.name in kept:
            reason = KEPT
        elif _holds_scales(tensor.name):
            reason = "scales of quantized weights"
        elif len(tensor.dims) > 1:
            reason = f"matrices of at most {SMALL_BYTES} bytes"
        else:
            reason = "biases and layer norms: vectors, added and scaled in fp32"
        found[tensor.name] = KeptInFloat(len(tensor.raw_data) or 4 * len(tensor.float_data), reason)
    return found


def _holds_scales(name: str) -> bool:
    return name.endswith(("_scale", "_scales"))  # so the quantizers name them
