"""Which models of a report a name means: as its page calls them, or as their records do."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from compress.errors import InvalidInputError
from compress.kinds import Known, kind_of
from compress.recipes.resolve import suggest
from compress.reporting.data import RunData
from compress.reporting.lineage import describe_making, join_common, shorten_run
from compress.reporting.naming import name_runs
from compress.runs import Run

Names = Mapping[str, tuple[frozenset[str], ...]]
"""Run's id → what it is called, the surest names first: what several models share may still be the first's own name."""


class Meant(NamedTuple):
    """What a name means on one task: the `runs` that have it, and with these the other `seeds` of their model."""

    runs: list[RunData]
    seeds: list[RunData]


def find_models(runs: Sequence[RunData], name: str, known: Known) -> dict[str, list[RunData]]:
    """Task → the runs that a name means, with the other seeds of them.

    Args:
        runs: Of the report.
        name: A run's id or key; what a table, a group of seeds or the overview calls it; or the model's name.
        known: These runs, and those that they go back to.

    Raises:
        InvalidInputError: It is no model's name, or on every task that of several.
    """
    found, unclear = _find_everywhere(runs, name, known)
    if unclear and not found:
        raise _refuse_unclear(unclear)
    return {task: meant.seeds for task, meant in found.items()}


def find_baselines(runs: Sequence[RunData], name: str, known: Known) -> dict[str, Meant]:
    """As `find_models`, of a name that may on no task be that of several models: there the baseline would be another one.

    Raises:
        InvalidInputError: It is no model's name, or on some task that of several.
    """
    found, unclear = _find_everywhere(runs, name, known)
    if unclear:
        raise _refuse_unclear(unclear)
    return found


def _find_everywhere(runs: Sequence[RunData], name: str, known: Known) -> tuple[dict[str, Meant], list[str]]:
    """Task → what the name means there, and of the tasks where it could be several models what to say."""
    found: dict[str, Meant] = {}
    listed: dict[str, None] = {}
    unclear: list[str] = []
    for task, here in _by_task(runs).items():
        names, shown = _name_all(here, known)
        listed |= dict.fromkeys(shown[each.run.id] for each in here)
        meant = _find_meant(here, name, names)
        kinds: dict[Hashable, str] = {}
        for each in meant:
            kinds.setdefault(kind_of(each.run, known, seeds=False), each.run.id)
        if len(kinds) > 1:
            several = "; ".join(f"{shown[run]} ({run})" for run in kinds.values())
            unclear.append(f"{name!r} could be several models of the task {task!r}: {several}.")
        elif kinds:
            seeds = [each for each in here if kind_of(each.run, known, seeds=False) in kinds]
            found[task] = Meant(meant, seeds)
    if not found and not unclear:
        raise InvalidInputError(f"{name!r} is no run of the report.", suggest(name, list(listed), "models"))
    return found, unclear


def _refuse_unclear(unclear: Sequence[str]) -> InvalidInputError:
    return InvalidInputError(unclear[0], "Name one of these, or one by its id (in brackets).")


def _by_task(runs: Sequence[RunData]) -> dict[str, list[RunData]]:
    tasks = sorted({each.run.answered_task.name for each in runs})
    return {task: [each for each in runs if each.run.answered_task.name == task] for task in tasks}


def _find_meant(here: Sequence[RunData], name: str, names: Names) -> list[RunData]:
    """The runs of a task that have the name, by the surest names that any of them has."""
    sorts = zip(*(names[each.run.id] for each in here), strict=True)
    found = ([each for each, own in zip(here, called, strict=True) if name in own] for called in sorts)
    return next(filter(None, found), [])


def _name_all(here: Sequence[RunData], known: Known) -> tuple[Names, dict[str, str]]:
    """The names of a task's runs, and what its table calls each: several seeds by one name."""
    models = [each.run for each in here]
    shorts = name_runs(models, known)
    kinds: dict[Hashable, list[Run]] = defaultdict(list)
    for run in sorted(models, key=lambda run: run.seed):
        kinds[kind_of(run, known, seeds=False)].append(run)
    common = {kind: join_common([shorts[run.id] for run in alike]) for kind, alike in kinds.items()}
    taken = Counter(common.values())
    shown = {
        run.id: common[kind] if taken[common[kind]] == 1 else f"{common[kind]} · {alike[0].key}"
        for kind, alike in kinds.items()
        for run in alike
    }
    names = {
        run.id: (
            frozenset({run.id, run.key}),
            frozenset({shorts[run.id], shown[run.id], f"{run.name} · {describe_making(run, known)}"}),
            frozenset({f"{run.name} · {describe_making(run, known, copies=False)}"}),
            frozenset({f"{run.name} · {shorten_run(run)}"}),
            frozenset({run.name}),
        )
        for run in models
    }
    return names, shown
