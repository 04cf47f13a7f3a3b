"""Tables in Markdown that line up in a terminal, too."""

from collections.abc import Sequence


def render_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A head, a rule, and a line for each row; the columns as wide as they must be."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    first, *others = (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *rows)
    )
    return "\n".join([first, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *others])
