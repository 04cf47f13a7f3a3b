"""ONNX graphs: read, written, and narrowed where no optimizer sees that it can be done."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

ELEMENTWISE = frozenset(
    {"Add", "Sum", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh"}
)
FIRST, SECOND, POSITION_AXIS = "position_first", "position_second", "position_axis"


def write_graph(exported: onnx.ModelProto, path: Path) -> None:
    """Write a graph so that the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        onnx.save(exported, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def float_matrices(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The fp32 constants of a graph that have two dimensions or more: its weights, by name."""
    return {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    }


def narrow_last_layer(graph: onnx.GraphProto) -> None:
    """Compute the last layer at the first position only, where the classifier reads nothing else.

    From the node that selects the first position back through the graph: a node belongs to the narrow
    part if every use of its output does, and if each position of its output depends on that position
    of its inputs alone. So the last layer's feed-forward network, its attention and its queries shrink
    to one row; keys and values, which every query needs, stay. Where a value enters the narrow part, it
    is sliced. Without such a selection nothing changes.
    """
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    selections = [node for node in graph.node if _selects_first_position(node, graph)]
    if len(selections) != 1:
        return
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    narrow_uses = Counter([selections[0].input[0]])
    narrow: dict[str, onnx.NodeProto] = {}
    for node in reversed(graph.node):
        name = node.output[0]
        if 0 < narrow_uses[name] == uses[name] and _keeps_positions_apart(node, producers):
            narrow[name] = node
            narrow_uses.update(node.input[slot] for slot in _position_slots(node, constants))
    if narrow:
        _slice_inputs(graph, narrow, constants)


def _selects_first_position(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    if node.op_type != "Gather" or _attribute(node, "axis", 0) != 1:
        return False
    index = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    return index is not None and not index.dims and int(numpy_helper.to_array(index)) == 0


def _keeps_positions_apart(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> bool:
    match node.op_type:
        case "MatMul":  # rows of the product are rows of its first factor
            return True
        case "LayerNormalization" | "Softmax":
            return bool(_attribute(node, "axis", -1) == -1)
        case "Transpose":  # [B, L, heads, size] to [B, heads, L, size], or back
            return bool(_attribute(node, "perm", []) == [0, 2, 1, 3])
        case "Reshape":  # [B, L, H] to [B, L, heads, size], or back
            shape = producers.get(node.input[1])
            return shape is not None and shape.op_type == "Concat" and len(shape.input) > 2
        case operation:
            return operation in ELEMENTWISE


def _position_slots(node: onnx.NodeProto, constants: set[str]) -> list[int]:
    """Which inputs of a node have positions that its output keeps."""
    if node.op_type not in ELEMENTWISE:
        return [0]
    return [slot for slot, name in enumerate(node.input) if name not in constants]


def _slice_inputs(graph: onnx.GraphProto, narrow: dict[str, onnx.NodeProto], constants: set[str]) -> None:
    """Feed the narrow nodes with the first position of what comes from elsewhere, reshape to one."""
    sliced: set[str] = set()
    shapes = {node.input[1] for node in narrow.values() if node.op_type == "Reshape"}
    for node in narrow.values():
        for slot in _position_slots(node, constants):
            if node.input[slot] not in narrow:
                sliced.add(node.input[slot])
                node.input[slot] += "_first"
        if node.op_type == "Reshape":
            node.input[1] += "_first"
    ordered = []
    for node in graph.node:
        ordered.append(node)
        for name in node.output:
            if name in sliced:  # [B, L, H], [B, heads, L, size] or a mask [B, 1, L, L]: the last axis but one
                slice_inputs = [name, FIRST, SECOND, POSITION_AXIS]
                ordered.append(helper.make_node("Slice", slice_inputs, [f"{name}_first"], f"{name}_first"))
            if name in shapes:
                dimensions = [node.input[0], SECOND, *node.input[2:]]  # [B, L, …] becomes [B, 1, …]
                ordered.append(
                    helper.make_node("Concat", dimensions, [f"{name}_first"], f"{name}_first", axis=0)
                )
    del graph.node[:]
    graph.node.extend(ordered)
    for name, value in ((FIRST, 0), (SECOND, 1), (POSITION_AXIS, -2)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], dtype=np.int64), name))


def _attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    found = (helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)
    return next(found, default)
