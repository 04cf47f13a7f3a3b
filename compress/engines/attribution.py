"""Whose work a graph's nodes do: known where a node uses a part's weights, else what it works for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compress.models.parts import part_of
from compress.runs import Part


@dataclass(frozen=True)
class Node:
    """An operation of a graph.

    Attributes:
        name: As the runtime's profile calls it.
        constants: Names of constants that it uses.
        inputs: Names of the values that it takes.
        outputs: Names of the values that it gives.
    """

    name: str
    constants: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def assign_parts(nodes: Sequence[Node]) -> dict[str, Part]:
    """Each node's part, by its name.

    Exported products have lost the names of their weights, and reshapes never had one, but the bias or the norm that
    they lead to tells: a node without a name of its own belongs to the first node that uses what it gives. So residual
    sums are of the norm that closes the block, and the attention mask is the attention's. What leads nowhere, as the
    last node does, goes on with what it is given.

    Args:
        nodes: In topological order.
    """
    parts: dict[str, Part] = {}
    wanted_by: dict[str, Part] = {}
    for node in reversed(nodes):  # the first user comes last, and has the last word
        part = tell_part(node.constants)
        if part == "other":
            part = next((wanted_by[value] for value in node.outputs if value in wanted_by), "other")
        parts[node.name] = part
        wanted_by.update(dict.fromkeys(node.inputs, part))
    given_by: dict[str, Part] = {}
    for node in nodes:
        if parts[node.name] == "other":
            found = (given_by[value] for value in node.inputs if value in given_by)
            parts[node.name] = next((part for part in found if part != "other"), "other")
        given_by.update(dict.fromkeys(node.outputs, parts[node.name]))
    return parts


def tell_part(names: Iterable[str]) -> Part:
    """The part of the first name that is a module's path and tells one, `other` if none does."""
    paths = (name for name in names if "." in name)
    return next((part for part in map(part_of, paths) if part != "other"), "other")
