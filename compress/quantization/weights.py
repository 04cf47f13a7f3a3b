"""The weights of an exported graph: which module of the model each is of, and which of them stay as they are."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from compress.errors import InvalidInputError
from compress.graphs import float_matrices
from compress.recipes.resolve import suggest

SLOTS = {"MatMul": 1, "Gather": 0}
"""Operation → which of its inputs is a matrix of weights: of a product its second factor, of a look-up its table."""


@dataclass(frozen=True)
class Weight:
    """A matrix that products multiply by, or a table that rows are looked up in.

    Attributes:
        name: In the graph.
        module: In the model; one that several layers share is one.
        is_table: Whether its rows are looked up.
        nodes: That use it: several, where a layer is shared.
    """

    name: str
    module: str
    is_table: bool
    nodes: tuple[str, ...]


def find_weights(graph: onnx.GraphProto, model: nn.Module) -> tuple[Weight, ...]:
    """The weights of a graph, in the order in which they are used.

    A graph's own names follow the exporter's mood; a weight is known again by its numbers.

    Args:
        graph: In fp32, its nodes named; every product is a `MatMul`.
        model: That it was exported from.
    """
    matrices = float_matrices(graph)
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        slot = SLOTS.get(node.op_type)
        if slot is not None and node.input[slot] in matrices:
            users.setdefault(node.input[slot], []).append(node)
    modules = modules_by_content(model)
    return tuple(
        Weight(
            name,
            module=modules.get(content_of(numpy_helper.to_array(matrices[name])), name),
            is_table=nodes[0].op_type == "Gather",
            nodes=tuple(node.name for node in nodes),
        )
        for name, nodes in users.items()
    )


def match_modules(patterns: Iterable[str], modules: Sequence[str]) -> frozenset[str]:
    """The modules that patterns name; `*` stands for any part of a name.

    Raises:
        InvalidInputError: A pattern names none.
    """
    found: set[str] = set()
    for pattern in patterns:
        named = {module for module in modules if fnmatchcase(module, pattern)}
        if not named:
            raise InvalidInputError(
                f"No module {pattern!r} has weights that could be kept.", suggest(pattern, modules, "modules")
            )
        found |= named
    return frozenset(found)


def users_of(weights: Iterable[Weight], kept: Collection[str]) -> list[str]:
    """The nodes that use the weights of kept modules."""
    return [node for weight in weights if weight.module in kept for node in weight.nodes]


def modules_by_content(model: nn.Module) -> dict[str, str]:
    """A hash over a module's matrix, as it is and transposed → the module's name."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():  # yields a shared module once
        if isinstance(module, nn.Linear | nn.Embedding):
            matrix = module.weight.detach().cpu().numpy()
            found.setdefault(content_of(matrix), name)
            found.setdefault(content_of(matrix.T), name)
    return found


def content_of(matrix: NDArray[np.float32]) -> str:
    """A hash over a matrix's shape and numbers."""
    digest = hashlib.sha256(repr(matrix.shape).encode())
    digest.update(np.ascontiguousarray(matrix).tobytes())
    return digest.hexdigest()
