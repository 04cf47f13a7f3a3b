"""What a caveat is raised about: rules, and how the rows that one concerns are named."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from compress.reporting.data import RunData
from compress.reporting.lineage import name_group
from compress.reporting.schema import Caveat, CaveatKind, Row, Section
from compress.reporting.wording import join_names

Data = Mapping[str, RunData]
Rule = Callable[[Section, Data], Iterator[Caveat]]

FEW = 3
"""So many names are read; where more are meant, and no more than these are not, it is these that are told."""


def raise_about(section: Section, kind: CaveatKind, rows: Sequence[Row], text: str) -> Iterator[Caveat]:
    """One caveat about several rows, none where there is no row; `{}` in the text becomes their names."""
    if rows:
        names = join_names(name_rows(section, rows))
        yield Caveat(kind=kind, text=text.replace("{}", names), runs=tuple(row.run.id for row in rows))


def name_rows(section: Section, rows: Sequence[Row]) -> list[str]:
    """What rows are called: all seeds of a model by one name, all that are compared by none, and most by who is not meant."""
    named = _name_all(section, rows)
    if len(rows) == len(section.rows) > 1:
        return ["every model here"]
    meant = {row.run.id for row in rows}
    others = _name_all(section, [row for row in section.rows if row.run.id not in meant])
    if len(named) > FEW and len(others) <= FEW:
        return [f"every model here but {join_names(others)}"]
    return named


def _name_all(section: Section, rows: Sequence[Row]) -> list[str]:
    ids = {row.run.id for row in rows}
    names: dict[str, str] = {}
    for group in section.groups:
        if ids.issuperset(group.runs):
            names |= dict.fromkeys(group.runs, f"{name_group(section, group)} ({len(group.seeds)} seeds)")
    return list(dict.fromkeys(names.get(row.run.id, row.short) for row in rows))


def list_others(section: Section) -> list[Row]:
    """The rows that are compared with the baseline: all but it and its other seeds."""
    return [row for row in section.rows if row.run.id not in section.references]
