"""What each run was made from, and what it is called: labels, arrows, families."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from compress.kinds import Known, others_than
from compress.recipes.quantization import QuantizationMethod
from compress.recipes.stages import (
    Distill,
    Export,
    Finetune,
    General,
    Intermediate,
    Pretrain,
    Prune,
    Quantize,
    Stage,
)
from compress.reporting.schema import Link, Section, SeedGroup
from compress.runs import Parent, Run

GONE_ON_WITH = frozenset({"model", "student"})
"""The roles of parents whose weights a run goes on with."""


def _parent_runs(run: Run, known: Known) -> list[Run]:
    found = (known.get(parent.run_id or "") for parent in run.parents)
    return [made for made in found if made is not None]


def _find_before(run: Run, known: Known) -> Run | None:
    """The known run whose weights a run went on with."""
    found = (known.get(parent.run_id or "") for parent in run.parents if parent.role in GONE_ON_WITH)
    return next((made for made in found if made is not None), None)


def describe_making(run: Run, known: Known, *, copies: bool = True) -> str:
    """How a run was made, in a few words: distilled (logits) from minilm-l6 · int8.

    Args:
        run: The run.
        known: Those that it may have been made from.
        copies: Whether it says how often texts were copied, which a recipe may decide by the task.
    """
    stage = run.stage
    if isinstance(stage, Distill) and stage.student is not None:
        told = [tell(run, stage) for tell in PARTICULARS if copies or tell is not _tell_copies]
        details = filter(None, [stage.method, *told])
        return f"distilled ({', '.join(details)}) from {_name_teachers(run)}"
    if isinstance(stage, General):
        return f"general stage ({stage.method}) from {_name_teachers(run)}"
    if isinstance(stage, Finetune):
        return _describe_finetuning(run, known) if stage.built_anew is None else "trained on the labels alone"
    others = others_than(run, known)
    parent = _find_before(run, others)
    before = f"{describe_making(parent, others, copies=copies)} · " if parent else ""
    return f"{before}{_shorten_stage(run)}"


def _name_teachers(run: Run) -> str:
    teachers = [parent.name for parent in run.parents if parent.teaches]
    return " and ".join(teachers) or "an unnamed teacher"


def _describe_finetuning(run: Run, known: Known) -> str:
    """With what the model learned here of a language before, which another of its name may not have."""
    pretraining = [stage for stage in _list_earlier(run, known) if isinstance(stage, Pretrain)]
    if any(stage.new for stage in pretraining):
        return "fine-tuned, pretrained here from nothing"
    return "fine-tuned, pretrained further here" if pretraining else "fine-tuned"


def _list_earlier(run: Run, known: Known) -> list[Stage]:
    """The stages that a run's weights went through before its own, the first one first."""
    others = others_than(run, known)
    parent = _find_before(run, others)
    return [*_list_earlier(parent, others), parent.stage] if parent else []


def describe_pretraining(stage: Pretrain) -> str:
    """A stage of pretraining in a few words: pretrained from nothing (nsp)."""
    return f"pretrained {'from nothing' if stage.new else 'further'} ({stage.objective})"


def describe_pruning(stage: Prune) -> str:
    """A stage of pruning in a few words: pruned (ffn 0.5, by taylor)."""
    judged = (
        f", by {stage.importance}" if stage.importance != "magnitude" and stage.remove.ranks_units else ""
    )
    return f"pruned ({stage.describe()}{judged})"


def _describe_recovery(run: Run, stage: Distill) -> str:
    """What is taught again: after pruning, or before rounding; by itself as it was, unless another is named."""
    teachers = _name_teachers(run)
    by = "" if teachers == run.name else f" by {teachers}"
    if stage.simulates is not None:
        return f"trained for {_name_method(stage.simulates)}{by}"
    return f"recovered{by}"


def _name_method(method: QuantizationMethod) -> str:
    return method.kind.removeprefix("dynamic-")


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


def _shorten_stage(run: Run) -> str:
    """A stage in one word, for labels."""
    match run.stage:
        case Finetune():
            text = "fine-tuned" if run.stage.built_anew is None else "labels alone"
        case Distill():
            text = run.stage.method if run.stage.student else _describe_recovery(run, run.stage)
        case Quantize():
            text = _name_method(run.stage.method)
        case Pretrain():
            text = describe_pretraining(run.stage)
        case General() | Intermediate():
            text = f"{run.stage.kind} stage"
        case Export():
            text = f"for {run.stage.format}"
        case Prune():
            text = describe_pruning(run.stage)
    return text


def name_runs(runs: Sequence[Run], known: Known) -> dict[str, str]:
    """The shortest name for each run that no other has: name, and of stages, particulars, seed and key what differs.

    Args:
        runs: That are named.
        known: These, and others that they may have been made from.
    """
    plain = {run.id: " · ".join([run.name, *_last_stages(run, known)]) for run in runs}
    told = _add_detail(runs, plain, _shorten_stage)
    told = _add_detail(runs, told, partial(_tell_pruning, known))
    for tell in PARTICULARS:
        told = _add_detail(runs, told, partial(_tell, tell))
    return tell_apart(runs, told)


def _last_stages(run: Run, known: Known) -> list[str]:
    """What was done to a finished model: the last stage, and where a pruned one recovered, the pruning."""
    stage = run.stage
    if isinstance(stage, Quantize | Export | Prune):
        return [_shorten_stage(run)]
    if not (isinstance(stage, Distill) and stage.student is None):
        return []
    others = others_than(run, known)
    before = _find_before(run, others)
    pruned = _last_stages(before, others) if before and isinstance(before.stage, Prune) else []
    return [*pruned, _shorten_stage(run)]


def _tell_pruning(known: Known, run: Run) -> str:
    """What was taken away in all stages before."""
    return ", ".join(
        describe_pruning(stage) for stage in _list_earlier(run, known) if isinstance(stage, Prune)
    )


def _tell(tell: Callable[[Run, Distill], str], run: Run) -> str:
    return tell(run, run.stage) if isinstance(run.stage, Distill) else ""


def tell_apart(runs: Sequence[Run], names: Mapping[str, str]) -> dict[str, str]:
    """The names, by the runs' ids, with seed and key added where several runs share one and differ in them."""
    details: tuple[Callable[[Run], str], ...] = (
        lambda run: f"seed {run.seed}",
        lambda run: run.key,
        lambda run: run.id,
    )
    told = dict(names)
    for detail in details:
        told = _add_detail(runs, told, detail)
    return told


def _add_detail(
    runs: Sequence[Run], names: Mapping[str, str], detail: Callable[[Run], str]
) -> dict[str, str]:
    """Add a detail to the names that several runs share, where it differs between these runs."""
    details: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        details[names[run.id]].add(detail(run))
    return {
        run.id: " · ".join(filter(None, [names[run.id], detail(run)]))
        if len(details[names[run.id]]) > 1
        else names[run.id]
        for run in runs
    }


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
    parts = zip(*(section.find(run).short.split(" · ") for run in group.runs), strict=False)
    return " · ".join(names[0] for names in parts if len(set(names)) == 1)
