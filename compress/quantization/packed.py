"""Block-wise weights for ONNX Runtime, in 8 or 4 bits, the word table included.

A student's word table is three quarters of its parameters, so a method that leaves it in fp32 makes nothing small. Its
rows are unpacked as they are looked up, and weights of products as they are multiplied.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import helper, numpy_helper
from transformers import PreTrainedModel

from compress.graphs import float_matrices
from compress.quantization.blocks import Bits, Blocks, fit_block, pack_product, pack_table, table_bits
from compress.quantization.onnx import Exported, use_microsoft_operators, write_quantized
from compress.quantization.sensitivity import Trial
from compress.quantization.summary import QuantizationSummary
from compress.quantization.weights import Weight
from compress.recipes.quantization import PackedInt4, PackedInt8

PARITY_BOUND = 0.1
"""Largest relative error of the logits by default, beside those of the simulated rounding.

Where activations are as they come there is none, up to 0.0004 for MiniLM-L6; one in 8 bits may fall to either side of
the middle between two codes, and shifts what comes after it: up to 0.02 for MiniLM-L6, 0.002 for `albert-tiny`. What
rounding itself does to the logits of random tokens (in 4 bits up to 1.4 of their size where a student loses nothing on
its task) is noted, and left for the score to judge.
"""

INT8_ACTIVATIONS = 4
"""`accuracy_level` of `MatMulNBits`: activations are quantized by blocks as well, and the product is one of integers."""


def quantize_packed(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    method: PackedInt8 | PackedInt4,
    parity_bound: float = PARITY_BOUND,
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a sequence classifier as `directory/model.onnx`, its weights and embedding tables in blocks of few bits.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        method: How many bits, in what blocks, and what stays in fp32.
        parity_bound: Largest relative error of the logits, beside those of the simulated rounding.
        trial: Where a score has to hold.

    Raises:
        CompressError: As `write_quantized` does.
    """

    def rewrite(exported: Exported, kept: frozenset[str]) -> onnx.ModelProto:
        packer = _Packer(
            exported.model, bits=method.bits, block_size=method.block_size, symmetric=method.symmetric
        )
        for weight in exported.weights:
            if weight.module in kept:
                continue
            if weight.is_table:
                packer.pack_table(weight.name, weight.nodes)
            else:
                accuracy = INT8_ACTIVATIONS if method.activations == "int8" else 0
                packer.pack_product(weight.name, weight.nodes, accuracy=accuracy)
        return packer.finished()

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


def pack_tables(
    model: onnx.ModelProto, tables: Iterable[Weight], *, bits: Bits, block_size: int, symmetric: bool = True
) -> onnx.ModelProto:
    """A copy of a graph, some of its embedding tables in blocks, the rest as it was."""
    packer = _Packer(model, bits=bits, block_size=block_size, symmetric=symmetric)
    for table in tables:
        packer.pack_table(table.name, table.nodes)
    return packer.finished()


class _Packer:
    """A copy of a graph whose weights are packed one by one."""

    def __init__(self, model: onnx.ModelProto, *, bits: Bits, block_size: int, symmetric: bool) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._graph = self._model.graph
        self._matrices = float_matrices(self._graph)
        self._nodes = {node.name: node for node in self._graph.node}
        self._bits: Bits = bits
        self._block_size = block_size
        self._symmetric = symmetric

    def pack_product(self, weight: str, nodes: Sequence[str], *, accuracy: int) -> None:
        """Store a product's second factor in blocks, once for all nodes that use it."""
        matrix = numpy_helper.to_array(self._matrices[weight])
        depth, width = matrix.shape
        size = fit_block(depth, bits=self._bits, block_size=self._block_size)
        blocks = pack_product(matrix, bits=self._bits, block_size=size, symmetric=self._symmetric)
        stored = self._store(weight, blocks)
        attributes = {"K": depth, "N": width, "bits": self._bits, "block_size": size}
        for node in (self._nodes[name] for name in nodes):
            given = [node.input[0], *stored]
            level = {"accuracy_level": accuracy} if accuracy else {}
            _become(node, "MatMulNBits", given, {**attributes, **level})

    def pack_table(self, weight: str, nodes: Sequence[str]) -> None:
        """Store a table in blocks."""
        table = numpy_helper.to_array(self._matrices[weight])
        width = table.shape[1]
        bits = table_bits(width, self._bits)
        size = self._block_size  # rows of a table are not padded
        blocks = pack_table(table, bits=bits, block_size=size, symmetric=self._symmetric)
        codes, *scales = self._store(weight, blocks)
        attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": size, "bits": bits}
        for node in (self._nodes[name] for name in nodes):
            _become(node, "GatherBlockQuantized", [codes, node.input[1], *scales], attributes)

    def finished(self) -> onnx.ModelProto:
        """The graph without what nothing uses any more."""
        used = {name for node in self._graph.node for name in node.input}
        left = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(left)
        use_microsoft_operators(self._model)
        return self._model

    def _store(self, weight: str, blocks: Blocks) -> list[str]:
        parts = {"blocks": blocks.codes, "scales": blocks.scales, "zero_points": blocks.zero_points}
        stored = {f"{weight}_{part}": array for part, array in parts.items() if array is not None}
        self._graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
        return list(stored)


def _become(
    node: onnx.NodeProto, operator: str, inputs: Sequence[str], attributes: Mapping[str, int]
) -> None:
    """Make a node one of ONNX Runtime's own operators, its output as it was."""
    node.op_type, node.domain = operator, "com.microsoft"
    node.input[:] = inputs
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
