"""Weights in 16 bits: for PyTorch as safetensors that plain `from_pretrained` loads, or as an ONNX file."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from transformers import PreTrainedModel

from compress.artefacts import ONNX_FILE
from compress.encoder import Encoder, model_inputs
from compress.errors import CompressError
from compress.exporting import export_onnx
from compress.graphs import float_matrices, write_graph
from compress.inference import load
from compress.parity import compare_answers, compare_logits, open_session, random_batches, require_parity
from compress.quantization.modules import count_uses
from compress.quantization.summary import QuantizationSummary

PARITY_BOUNDS = {torch.float16: 0.02, torch.bfloat16: 0.1}
"""Type → the largest relative error of the logits: fp16 has 11 significant bits, bfloat16 8."""

REMEDY = "Stay in fp32: compress export MODEL --format onnx."

ONNX_TYPES = {torch.float16: onnx.TensorProto.FLOAT16, torch.bfloat16: onnx.TensorProto.BFLOAT16}


def write_half_safetensors(
    encoder: Encoder, directory: Path, *, dtype: torch.dtype, parity_bound: float | None = None
) -> QuantizationSummary:
    """Write a model in plain Hugging Face format, every tensor in 16 bits, shared ones once.

    Args:
        encoder: A classifier in fp32, with its tokenizer.
        directory: Where weights and configuration go; the tokenizer is there.
        dtype: float16 or bfloat16.
        parity_bound: Largest relative error of the logits; default that of the type.

    Raises:
        CompressError: A weight is beyond the type's range, or the logits are further from the model's than the bound.
    """
    _require_range(encoder.model, dtype)
    copy.deepcopy(encoder.model).to(dtype).save_pretrained(directory)  # type: ignore[arg-type]
    engine = load(directory).engine
    names = model_inputs(encoder.tokenizer)
    batches = random_batches(encoder.model.config, names)
    comparison = compare_answers(engine.run, encoder.model, batches)
    bound = PARITY_BOUNDS[dtype] if parity_bound is None else parity_bound
    require_parity(comparison, bound, remedy=REMEDY)
    size = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    return QuantizationSummary(size, count_uses(encoder.model, nn.Linear, batches[0]), {}, comparison)


def write_half_onnx(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    dtype: torch.dtype,
    parity_bound: float | None = None,
) -> QuantizationSummary:
    """Write a model as `directory/model.onnx`, its constants in 16 bits, each widened by a `Cast` in the graph.

    ONNX Runtime widens them once, when the file is opened: it then computes as fast as in fp32. A graph of fp16 operations
    (`onnxruntime.transformers.float16`) is for GPUs; on a CPU most have no kernel, and each would be put between two
    casts.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        dtype: float16 or bfloat16.
        parity_bound: Largest relative error of the logits; default that of the type.

    Raises:
        CompressError: A weight is beyond the type's range, or the logits are further from the model's than the bound.
    """
    _require_range(model, dtype)
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        source = Path(scratch) / "fp32.onnx"
        export_onnx(model, source, input_names=input_names)
        graph = onnx.load(source)
    matrices = float_matrices(graph.graph)
    products = sum(
        node.op_type in {"MatMul", "Gemm"} and node.input[1] in matrices for node in graph.graph.node
    )
    _narrow(graph.graph, ONNX_TYPES[dtype])
    comparison = compare_logits(open_session(graph), model)
    bound = PARITY_BOUNDS[dtype] if parity_bound is None else parity_bound
    require_parity(comparison, bound, remedy=REMEDY)
    file = directory / ONNX_FILE
    write_graph(graph, file)
    return QuantizationSummary(file.stat().st_size, products, {}, comparison)


def _narrow(graph: onnx.GraphProto, kind: int) -> None:
    """Store a graph's constants in 16 bits, each once, and widen them where they are used; scalars stay as they are."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.dims:
            continue
        values = numpy_helper.to_array(tensor)
        wide, narrow = tensor.name, f"{tensor.name}_narrow"
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(dtype), narrow))
        casts.append(helper.make_node("Cast", [narrow], [wide], f"widen_{wide}", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _require_range(model: nn.Module, dtype: torch.dtype) -> None:
    largest = max(float(parameter.detach().abs().max()) for parameter in model.parameters())
    if not largest <= torch.finfo(dtype).max:
        raise CompressError(
            f"The model has a weight of {largest:.3g}; {dtype} ends at {torch.finfo(dtype).max:.3g}.",
            "Take --method bf16, whose range is that of fp32.",
        )
