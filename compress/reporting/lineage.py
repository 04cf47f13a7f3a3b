"""What each run was made from: labels, arrows, families."""

from collections.abc import Iterator, Mapping, Sequence

from compress.kinds import Known, others_than
from compress.recipes.quantization import QuantizationMethod
from compress.recipes.stages import (
    COMPUTED,
    Distill,
    Export,
    Finetune,
    General,
    Intermediate,
    Pretrain,
    Prune,
    Quantize,
    Stage,
    head_of,
)
from compress.reporting.earlier import find_before, list_earlier, list_tasks_by_id
from compress.reporting.schema import Link, Section, SeedGroup
from compress.reporting.wording import name_task
from compress.runs import Parent, Run


def _parent_runs(run: Run, known: Known) -> list[Run]:
    found = (known.get(parent.run_id or "") for parent in run.parents)
    return [made for made in found if made is not None]


def describe_making(run: Run, known: Known, *, copies: bool = True) -> str:
    """How a run was made, in a few words: distilled (logits) from minilm-l6 · int8.

    Args:
        run: The run.
        known: Those that it may have been made from.
        copies: Whether it says what a recipe may decide by the task: how often texts were copied, what was learned first.
    """
    stage = run.stage
    if isinstance(stage, Distill) and stage.student is not None:
        told = [tell(run, stage) for tell in PARTICULARS if copies or tell is not _tell_copies]
        details = filter(None, [stage.method, *told])
        return f"distilled ({', '.join(details)}) from {_name_teachers(run)}"
    if isinstance(stage, General):
        return f"general stage ({stage.method}) from {_name_teachers(run)}"
    if isinstance(stage, Finetune):
        if stage.built_anew is not None:
            return "trained on the labels alone"
        return _describe_finetuning(run, known, first=copies)
    others = others_than(run, known)
    parent = find_before(run, others)
    before = (
        [describe_making(parent, others, copies=copies)]
        if parent
        else [shorten_stage(stage) for stage, _ in list_earlier(run, known)]
    )
    return " · ".join([*before, shorten_run(run)])


def _name_teachers(run: Run) -> str:
    teachers = [parent.name for parent in run.parents if parent.teaches]
    return " and ".join(teachers) or "an unnamed teacher"


def _describe_finetuning(run: Run, known: Known, *, first: bool) -> str:
    """With what the model learned here before, which another of its name may not have: other tasks, a language."""
    learned = tell_first(run, known) if first else ""
    text = f"fine-tuned ({learned})" if learned else "fine-tuned"
    pretraining = [stage for stage, _ in list_earlier(run, known) if isinstance(stage, Pretrain)]
    if any(stage.new for stage in pretraining):
        return f"{text}, pretrained here from nothing"
    return f"{text}, pretrained further here" if pretraining else text


def tell_first(run: Run, known: Known) -> str:
    """The other tasks that its weights learned before its own: MNLI first."""
    learned = [
        each.place
        for each in list_earlier(run, known)
        if head_of(each.stage) == "task" and not isinstance(each.stage, COMPUTED)
    ]
    others = dict.fromkeys(place for place in learned or list_tasks_by_id(run) if place != run.place)
    return f"{', then '.join(map(name_task, others))} first" if others else ""


def describe_pretraining(stage: Pretrain) -> str:
    """A stage of pretraining in a few words: pretrained from nothing (nsp)."""
    return f"pretrained {'from nothing' if stage.new else 'further'} ({stage.objective})"


def describe_pruning(stage: Prune) -> str:
    """A stage of pruning in a few words: pruned (ffn 0.5, by taylor)."""
    judged = (
        f", by {stage.importance}" if stage.importance != "magnitude" and stage.remove.ranks_units else ""
    )
    return f"pruned ({stage.describe()}{judged})"


def _describe_recovery(stage: Distill, by: str) -> str:
    """What is taught again: after pruning, or before rounding."""
    simulated = stage.simulates
    return f"{f'trained for {_name_method(simulated)}' if simulated else 'recovered'}{by}"


def _tell_other_teacher(run: Run) -> str:
    """Who taught again, where that is not the model as it was."""
    teachers = _name_teachers(run)
    return "" if teachers == run.name else f" by {teachers}"


def _name_method(method: QuantizationMethod) -> str:
    return method.kind.removeprefix("dynamic-") + " (7 bits)" * bool(getattr(method, "reduce_range", None))


def _tell_general(run: Run, stage: Distill) -> str:
    staged = stage.method not in ("logits", "recovery")
    skipped = staged and "general" not in str(run.facts.get("stages", "general"))
    return "no general stage" if skipped else ""


def _tell_copies(_: Run, stage: Distill) -> str:
    if stage.augmentation is None:
        return "no augmentation" if stage.method == "tinybert" else ""
    copies = stage.augmentation.copies
    return "a copy of each text" if copies == 1 else f"{copies} copies of each text"


def _tell_start(_: Run, stage: Distill) -> str:
    if stage.method == "logits" or stage.student is None:
        return ""
    return "random start" if stage.student.initialize == "random" else ""


PARTICULARS = (_tell_general, _tell_copies, _tell_start)
"""What may differ between two runs of a method: what it went without, how often texts were copied."""


def shorten_run(run: Run) -> str:
    """A run's stage in one word, for labels."""
    return shorten_stage(run.stage, by=_tell_other_teacher(run))


def shorten_stage(stage: Stage, by: str = "") -> str:
    """A stage in one word; `by` says who taught again."""
    match stage:
        case Finetune():
            text = "fine-tuned" if stage.built_anew is None else "labels alone"
        case Distill():
            text = stage.method if stage.student else _describe_recovery(stage, by)
        case Quantize():
            text = _name_method(stage.method)
        case Pretrain():
            text = describe_pretraining(stage)
        case General() | Intermediate():
            text = f"{stage.kind} stage"
        case Export():
            text = f"for {stage.format}"
        case Prune():
            text = describe_pruning(stage)
    return text


def find_family(run: Run, known: Known) -> str | None:
    """The architecture's family: the student's, what the stage noted, or that of its parent."""
    built = getattr(run.stage, "student", None) or getattr(run.stage, "new", None)
    if built is not None:
        return str(built.family)
    if isinstance(run.facts.get("family"), str):
        return str(run.facts["family"])
    others = others_than(run, known)
    families = (find_family(parent, others) for parent in _parent_runs(run, others))
    return next((family for family in families if family), None)


def list_links(run: Run, shorts: Mapping[str, str]) -> Iterator[Link]:
    """The arrows that lead to a run; `shorts` are the names of the section's rows and ancestors by their ids."""
    for parent in run.parents:
        yield Link(
            child=run.id,
            parent=shorts.get(parent.run_id or "") or _describe_parent(parent),
            role=parent.role,
            run=parent.run_id if parent.run_id in shorts else None,
        )


def _describe_parent(parent: Parent) -> str:
    return parent.name if parent.origin == parent.name else f"{parent.name} ({parent.origin})"


def order_runs(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Runs in the order of making, each after those that it was made from, even where these were redone later."""
    known = {run.id: run for run in sorted(runs, key=lambda run: (run.started, run.id))}
    seen: set[str] = set()

    def unfold(run: Run) -> Iterator[Run]:
        if run.id not in seen:
            seen.add(run.id)
            for parent in _parent_runs(run, known):
                yield from unfold(parent)
            yield run

    return tuple(each for run in known.values() for each in unfold(run))


def name_group(section: Section, group: SeedGroup) -> str:
    """What the short names of a group's runs have in common, and its first key where another has that name, too."""
    grouped = {run for each in section.groups for run in each.runs}
    taken = [_common_name(section, each) for each in section.groups]
    taken += [row.short for row in section.rows if row.run.id not in grouped]
    name = _common_name(section, group)
    return name if taken.count(name) == 1 else f"{name} · {section.find(group.runs[0]).run.key}"


def _common_name(section: Section, group: SeedGroup) -> str:
    return join_common([section.find(run).short for run in group.runs])


def join_common(names: Sequence[str]) -> str:
    """The parts that names have in common."""
    parts = zip(*(name.split(" · ") for name in names), strict=False)
    return " · ".join(each[0] for each in parts if len(set(each)) == 1)
