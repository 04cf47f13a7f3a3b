"""What the models of a section went through before they learned its task."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from compress.kinds import Known, kind_of
from compress.reporting.candidates import list_candidates
from compress.reporting.curves import read_curves
from compress.reporting.data import RunData
from compress.reporting.lineage import describe_making, order_runs
from compress.reporting.naming import tell_apart
from compress.reporting.schema import Ancestor, Curve, Level, Link, Section
from compress.runs import Run

MASKED_WORDS = "eval_masked_lm"
"""What the history calls the hold-out's loss on hidden words."""
ENTROPY = "unigram_entropy"
"""The fact of a run that this loss is compared with."""


def trace_ancestors(runs: Sequence[Run], known: Known) -> tuple[Run, ...]:
    """The known runs that some runs go back to, in the order of making."""
    given = {run.id for run in runs}
    found: dict[str, Run] = {}
    waiting = list(runs)
    while waiting:
        for parent in waiting.pop().parents:
            made = known.get(parent.run_id or "")
            if made is not None and made.id not in given | found.keys():
                found[made.id] = made
                waiting.append(made)
    return order_runs(list(found.values()))


def build_ancestors(runs: Sequence[Run], data: Mapping[str, RunData], known: Known) -> tuple[Ancestor, ...]:
    """What a report says of each of these runs; `data` by their ids."""
    names = {run.id: f"{run.name} · {describe_making(run, known)}" for run in runs}
    labels = tell_apart(runs, names)
    kinds = {run.id: kind_of(run, known, seeds=False) for run in runs}
    first = {kinds[run.id]: run for run in reversed(runs)}
    shared = Counter(names[run.id] for run in first.values())
    titles = {
        kind: names[run.id] if shared[names[run.id]] == 1 else f"{names[run.id]} · {run.key}"
        for kind, run in first.items()
    }
    return tuple(
        Ancestor(
            run=run,
            label=labels[run.id],
            made=labels[run.id].removeprefix(f"{run.name} · "),
            kind=titles[kinds[run.id]],
            curves=_read_quantities(data[run.id]),
        )
        for run in runs
    )


def _read_quantities(data: RunData) -> tuple[Curve, ...]:
    """The training loss, and of the hold-out each term and what stands beside it; their sum only where it is alone."""
    curves = read_curves(data.history)
    if any(curve.name.startswith("eval_") and curve.name != "eval_loss" for curve in curves):
        curves = tuple(curve for curve in curves if curve.name != "eval_loss")
    entropy = data.run.facts.get(ENTROPY)
    if not isinstance(entropy, float):
        return curves
    level = Level(name="unigram entropy", value=entropy)
    return tuple(
        curve.model_copy(update={"level": level}) if curve.name == MASKED_WORDS else curve for curve in curves
    )


def list_descendants(section: Section, runs: Collection[str]) -> dict[str, str]:
    """Role → the names of the models that runs, by their ids, played it for; several seeds by one name."""
    names = name_together(section)
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for link in section.lineage:
        if link.run in runs:
            found[link.role][names[link.child]] = None
    return {role: ", ".join(children) for role, children in found.items()}


def list_parents(section: Section, runs: Collection[str]) -> tuple[Link, ...]:
    """What runs, by their ids, were made from; what is so in several seeds is told once, by the name of all of them."""
    links = [link for link in section.lineage if link.child in runs]
    if len(runs) == 1:
        return tuple(links)
    names = name_together(section)
    told: dict[tuple[str, str], Link] = {}
    for link in links:
        name = names.get(link.run or "", link.parent)
        told.setdefault((link.role, name), link.model_copy(update={"parent": name}))
    return tuple(told.values())


def name_together(section: Section) -> dict[str, str]:
    """Run's id → its name, for several seeds the same one."""
    names = {made.run.id: made.kind for made in section.ancestors}
    return names | {run: each.name for each in list_candidates(section) for run in each.runs}
