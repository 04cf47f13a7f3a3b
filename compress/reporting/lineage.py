"""What each run was made from, and what it is called: labels, arrows, families."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from compress.kinds import Known, others_than
from compress.recipes.stages import Distill, Export, Finetune, General, Intermediate, Pretrain, Quantize
from compress.reporting.schema import Link
from compress.runs import Parent, Run


def _parent_runs(run: Run, known: Known) -> list[Run]:
    found = (known.get(parent.run_id or "") for parent in run.parents)
    return [made for made in found if made is not None]


def describe_making(run: Run, known: Known) -> str:
    """How a run was made, in a few words: distilled (logits) from minilm-l6 · int8."""
    stage = run.stage
    if isinstance(stage, Distill):
        teachers = [parent.name for parent in run.parents if parent.role.startswith("teacher")]
        details = ", ".join([stage.method, *_list_ablations(run, stage)])
        return f"distilled ({details}) from {' and '.join(teachers) or 'an unnamed teacher'}"
    if isinstance(stage, Finetune):
        return "fine-tuned" if stage.built_anew is None else "trained on the labels alone"
    others = others_than(run, known)
    parents = _parent_runs(run, others)
    before = f"{describe_making(parents[0], others)} · " if parents else ""
    return f"{before}{_shorten_stage(run)}"


def _list_ablations(run: Run, stage: Distill) -> Iterator[str]:
    """What a method's usual course was run without."""
    if stage.method != "logits" and "general" not in str(run.facts.get("stages", "general")):
        yield "no general stage"
    if stage.method == "tinybert" and stage.augmentation is None:
        yield "no augmentation"
    if stage.method != "logits" and stage.student.initialize == "random":
        yield "random start"


def _shorten_stage(run: Run) -> str:
    """A stage in one word, for labels."""
    if isinstance(run.stage, Distill):
        return "distilled"
    if isinstance(run.stage, Quantize):
        return run.stage.method.kind.removeprefix("dynamic-")
    if isinstance(run.stage, General | Intermediate | Pretrain):
        return f"{run.stage.kind} stage"
    if isinstance(run.stage, Export):
        return f"for {run.stage.format}"
    return "fine-tuned"


def name_runs(runs: Sequence[Run]) -> dict[str, str]:
    """The shortest name for each run that no other has: name, and of stage, seed and key what differs."""
    plain = {run.id: run.name for run in runs}
    for run in runs:
        if isinstance(run.stage, Quantize | Export):
            plain[run.id] = f"{run.name} · {_shorten_stage(run)}"
    details: tuple[Callable[[Run], str], ...] = (
        _shorten_stage,
        lambda run: f"seed {run.seed}",
        lambda run: run.key,
        lambda run: run.id,
    )
    for detail in details:
        plain = _tell_apart(runs, plain, detail)
    return plain


def _tell_apart(
    runs: Sequence[Run], names: Mapping[str, str], detail: Callable[[Run], str]
) -> dict[str, str]:
    """Add a detail to the names that several runs share, where it differs between these runs."""
    details: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        details[names[run.id]].add(detail(run))
    return {
        run.id: f"{names[run.id]} · {detail(run)}" if len(details[names[run.id]]) > 1 else names[run.id]
        for run in runs
    }


def find_family(run: Run, known: Known) -> str | None:
    """The architecture's family: the student's, what the stage noted, or that of its parent."""
    student = getattr(run.stage, "student", None)
    if student is not None:
        return str(student.family)
    if isinstance(run.facts.get("family"), str):
        return str(run.facts["family"])
    others = others_than(run, known)
    families = (find_family(parent, others) for parent in _parent_runs(run, others))
    return next((family for family in families if family), None)


def list_links(run: Run, shorts: Mapping[str, str]) -> Iterator[Link]:
    """The arrows that lead to a run; `shorts` are the names of the section's runs by their ids."""
    for parent in run.parents:
        yield Link(
            child=run.id,
            parent=shorts.get(parent.run_id or "") or _describe_parent(parent),
            role=parent.role,
            run=parent.run_id if parent.run_id in shorts else None,
        )


def _describe_parent(parent: Parent) -> str:
    return parent.name if parent.origin == parent.name else f"{parent.name} ({parent.origin})"
