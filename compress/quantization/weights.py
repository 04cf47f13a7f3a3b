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
    modules = ModulesByContent(model)
    return tuple(
        Weight(
            name,
            module=modules.claim(numpy_helper.to_array(matrices[name])) or name,
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


class ModulesByContent:
    """A model's modules, by the numbers of their matrices, as they are and transposed.

    Args:
        model: Whose linear layers and tables are known again; one that several layers share is one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names: dict[str, list[str]] = {}
        for name, module in model.named_modules():  # yields a shared module once
            if isinstance(module, nn.Linear | nn.Embedding):
                matrix = module.weight.detach().cpu().numpy()
                for content in {_content_of(matrix), _content_of(matrix.T)}:
                    self._names.setdefault(content, []).append(name)

    def claim(self, matrix: NDArray[np.float32]) -> str | None:
        """The module that a graph's matrix is of; None if it is of none.

        Of modules with equal numbers each is claimed once, in the model's order, in which graphs use them.
        """
        names = self._names.get(_content_of(matrix), [])
        if not names:
            return None
        return names.pop(0) if len(names) > 1 else names[0]


def _content_of(matrix: NDArray[np.float32]) -> str:
    """A hash over a matrix's shape and numbers."""
    digest = hashlib.sha256(repr(matrix.shape).encode())
    digest.update(np.ascontiguousarray(matrix).tobytes())
    return digest.hexdigest()
