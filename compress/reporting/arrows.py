"""Which of a chart's marks were made from which: the lineage as arrows, stages that are no marks skipped."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from compress.reporting.earlier import GONE_ON_WITH
from compress.reporting.schema import Link, Section
from compress.runs import is_teacher


class Arrow(NamedTuple):
    """From one mark to another, by their places; `kind` says whether weights went on or a teacher taught."""

    start: int
    end: int
    kind: Literal["weights", "teacher"]


def find_arrows(section: Section, marks: Mapping[str, int]) -> tuple[Arrow, ...]:
    """The arrows of a section's lineage, each once.

    Args:
        section: Whose lineage it is.
        marks: Run's id → the place of the mark that shows it; runs told by their mean share one.
    """
    links: dict[str, list[Link]] = {}
    for link in section.lineage:
        links.setdefault(link.child, []).append(link)
    found = [
        Arrow(marks[source], place, kind)
        for run, place in marks.items()
        for source, kind in _find_sources(run, links, marks, seen={run})
        if marks[source] != place
    ]
    weights = {(arrow.start, arrow.end) for arrow in found if arrow.kind == "weights"}
    kept = [arrow for arrow in found if arrow.kind == "weights" or arrow[:2] not in weights]
    return tuple(dict.fromkeys(kept))


def _find_sources(
    run: str, links: Mapping[str, list[Link]], marks: Mapping[str, int], *, seen: set[str]
) -> Iterator[tuple[str, Literal["weights", "teacher"]]]:
    """The nearest runs with a mark that a run goes back to, through the weights of those without one."""
    for link in links.get(run, []):
        if link.run is None or link.run in seen:
            continue
        weights = link.role in GONE_ON_WITH
        if link.run in marks and (weights or is_teacher(link.role)):
            yield link.run, "weights" if weights else "teacher"
        elif weights:
            seen.add(link.run)
            yield from _find_sources(link.run, links, marks, seen=seen)
