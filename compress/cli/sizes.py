"""A classifier's size part by part, its bytes and its operations: what `show` puts above a recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from compress.recipes.schema import Architecture, Student, Teacher
from compress.recipes.size import (
    BYTES_PER_PARAMETER,
    count_distinct,
    count_operations,
    list_parameters,
    megabytes,
)

Entry = dict[str, Any]
LENGTH = 128
"""Tokens of the text that operations are told for, where the model has positions for as many."""
PARTS = {
    "word_table": "word table",
    "positions": "positions, token types, norm",
    "projection": "projection",
    "attention": "attention",
    "ffn": "feed-forward",
    "head": "head",
}


def describe_size(recipe: Teacher | Student, *, vocab_size: int) -> Entry:
    """What programs get of a recipe's size.

    Args:
        recipe: With an architecture and a family.
        vocab_size: Rows of its word table.
    """
    shape = recipe.architecture
    counted = list_parameters(shape, recipe.family, vocab_size=vocab_size)
    length = min(LENGTH, shape.max_position_embeddings)
    return {
        "vocab_size": vocab_size,
        "parameters": counted.total,
        "megabytes": megabytes(counted.total),
        "parts": dict(counted.parts()),
        "layers": describe_layers(shape),
        "bytes": {name: each * counted.total for name, each in BYTES_PER_PARAMETER.items()},
        "flops": {
            "batch": 1,
            "length": length,
            "value": count_operations(shape, recipe.family, batch=1, length=length),
        },
    }


def describe_layers(shape: Architecture) -> str:
    """How many layers there are, and how many of their parts differ."""
    attentions, ffns = count_distinct(shape)
    return f"{shape.num_hidden_layers}: {_count(attentions, 'attention')}, {_count(ffns, 'feed-forward')}"


def tabulate_sizes(sizes: Mapping[str, Entry]) -> list[str]:
    """Lines of a table: parts below each other, a column a model.

    Args:
        sizes: Name of a model → what `describe_size` says of it.
    """
    columns = list(sizes.values())
    rows = [("", list(sizes))]
    rows += [
        (label, [f"{column['parts'][part]:,}" for column in columns])
        for part, label in PARTS.items()
        if any(column["parts"][part] for column in columns)
    ]
    rows.append(("parameters", [f"{column['parameters']:,}" for column in columns]))
    rows += [
        (
            f"MB in {name}{' (estimate)' * (name == 'int8')}",
            [f"{c['bytes'][name] / 1e6:,.2f}" for c in columns],
        )
        for name in BYTES_PER_PARAMETER
    ]
    rows.append(("GFLOP, batch × tokens", [_write_flops(column["flops"]) for column in columns]))
    rows.append(("layers, different parts", [column["layers"] for column in columns]))
    return [
        *_align(rows),
        "int8: a byte a parameter; scales, and vectors that stay in fp32, add a few per cent",
    ]


def _align(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    first = max(len(label) for label, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    return [
        "  ".join(
            [label.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]
        )
        for label, cells in rows
    ]


def _write_flops(flops: Entry) -> str:
    return f"{flops['value'] / 1e9:,.2f} at {flops['batch']} × {flops['length']}"


def _count(number: int, noun: str) -> str:
    return f"{number} × {noun}"
