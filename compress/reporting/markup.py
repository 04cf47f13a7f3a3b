"""Markdown: text from outside that stays text, code blocks and tables."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from compress.reporting.wording import show

Say = Callable[[str], str]

_SPECIAL = re.compile(r"[\\`*\[\]<>&|#~!]|(?<!\w)_|_(?!\w)")


def escape(text: str, *, say: Say = show) -> str:
    """Text from outside, so that Markdown takes no character of it for markup.

    Args:
        text: The text.
        say: What it is shown as: `reveal` where its words are no paths.
    """
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", say(text))


def fence(text: str, language: str, *, say: Say = show) -> list[str]:
    """Lines of a code block that holds a text, whatever backticks are in it.

    Args:
        text: The text.
        language: What it is written in.
        say: What each line is shown as, as in `escape`.
    """
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return [f"{ticks}{language}", *(say(line) for line in text.split("\n")), ticks]


def tabulate(titles: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> Iterator[str]:
    """Lines of a table.

    Args:
        titles: Of the columns.
        rows: Their cells, which are escaped already where they come from outside.
        words: How many columns, from the left, hold words; the others hold numbers and are set to the right.
    """
    yield _line(titles)
    yield _line(["---"] * words + ["---:"] * (len(titles) - words))
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
