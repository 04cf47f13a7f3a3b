"""The answer of several tasks in ten seconds: which model, how much smaller and faster, and how sure each part is."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from compress.kinds import Known, kind_of
from compress.reporting.candidates import list_timings
from compress.reporting.formats import format_change, format_range, format_ratio, format_share
from compress.reporting.headline import choose_smallest, concerns, word_speed
from compress.reporting.origins import trace_ancestors
from compress.reporting.schema import CaveatKind, Interval, Overview, OverviewRow, Section
from compress.reporting.wording import describe_two_engines, join_names, name_task
from compress.runs import Run

NUMBERS = {2: "Two", 3: "Three", 4: "Four"}
STAGES = {"general": "general stages", "pretrain": "pretrainings"}
"""What several runs of a stage before the task are called."""
NOT_ALIKE: Mapping[CaveatKind, str] = {
    "different-data": "some of its scores are of other examples than the baseline's",
    "other-length": "it read the texts up to another length than the baseline, which is not like with like",
    "selected-on-validation": "it was selected on the data that it is scored on",
    "parent-made-anew": "it goes back to an earlier run of what is shown",
    "no-common-session": "it was never timed in one session with the baseline",
    "other-engine": "its speed is that of model and engine together",
}
"""By what kind of caveat two models are compared that are not alike → how it is told; the gravest first, as in `caveats.RULES`."""


def add_answer(overview: Overview, sections: Sequence[Section], known: Known) -> Overview:
    """An overview with its sentence, why it is about that model, and how sure it is.

    As it was where no mean is compared, or where no one model is the baseline of every task.

    Args:
        overview: Without them.
        sections: Of its tasks, in its order.
        known: Their runs, and those that they go back to.
    """
    baselines = [row for row in overview.rows if row.baseline]
    kept = [(row, row.kept) for row in overview.rows if row.kept]
    if len(baselines) != 1 or baselines[0].mean is None or not kept:
        return overview
    baseline = baselines[0]
    (row, share), reason = choose_smallest(
        [(each, each[1].value) for each in kept], lambda each: (each[0].bytes, each[0].name)
    )
    certainty = (
        ("Size", _say_size(row)),
        ("Speed", _say_speed(row, baseline, overview, sections)),
        ("Score", _say_score(row, baseline, share, sections)),
        *_say_least(row, baseline, sections),
        *_say_origins(row, sections, known),
        ("Caveats", _say_caveats(row, sections)),
    )
    sentence = _word_sentence(row, baseline, share, overview)
    reason = " ".join([reason, *_name_others(row, overview)])
    told = {"sentence": sentence, "chosen": row.name, "reason": reason, "certainty": certainty}
    return overview.model_copy(update=told)


def _word_sentence(row: OverviewRow, baseline: OverviewRow, share: Interval, overview: Overview) -> str:
    changes = [
        format_change(change.value, *words)
        for change, words in ((row.smaller, ("smaller", "larger")), (row.faster, ("faster", "slower")))
        if change
    ]
    compared = f"{row.name} is {' and '.join(changes)} than {baseline.name}" if changes else row.name
    speed = " (their speed was not compared)"
    if row.faster:
        speed = "" if overview.timed == overview.tasks else f" (timed on {_join_tasks(overview.timed)})"
    return (
        f"{compared}{speed} and keeps {format_share(share.value)} ({format_range(share, 'share')}) of its mean over "
        f"{_join_tasks(overview.tasks)}."
    )


def _name_others(row: OverviewRow, overview: Overview) -> Iterator[str]:
    """The fastest and the one that keeps most, as measured, where that is not the model that the answer is about."""
    scored = [(each, each.kept.value) for each in overview.rows if each.kept]
    timed = [(each, kept, each.faster.value) for each, kept in scored if each.faster]
    best, most = max(scored, key=lambda each: each[1])
    fastest, kept, times = max(timed, key=lambda each: each[2], default=(row, most, 1.0))
    if fastest is not row:
        both = ", and keeps most" * (fastest is best)
        yield f"Fastest{both}: {fastest.name}, {format_ratio(times)}, keeps {format_share(kept)}."
    if best is not row and best is not fastest:
        speed = f", {format_ratio(best.faster.value)}" if best.faster else ""
        yield f"Keeps most: {best.name}, {format_share(most)}{speed}."


def _join_tasks(tasks: Sequence[str]) -> str:
    return join_names([name_task(task) for task in tasks])


def _say_size(row: OverviewRow) -> str:
    text = "Bytes on disk of weights and graph, the tokenizer apart, of the largest file of all tasks: exact."
    smaller = row.smaller
    if smaller is None or format_ratio(smaller.low) == format_ratio(smaller.high):
        return text
    return f"{text} Times smaller: the geometric mean over the tasks, which range over {format_range(smaller, 'ratio')}×."


def _say_speed(
    row: OverviewRow, baseline: OverviewRow, overview: Overview, sections: Sequence[Section]
) -> str:
    theirs, ours = (list_timings(overview, each, sections) for each in (baseline, row))
    if row.faster is None or not ours:
        return "Not known: the two were not timed alike on the tasks."
    pairs = {
        task: describe_two_engines((baseline.name, base.engine), (row.name, own.engine))
        for task, (_, base), (_, own) in zip(overview.timed, theirs, ours, strict=True)
    }
    same = len(set(pairs.values())) == 1
    engines = (
        next(iter(pairs.values())) if same else "; ".join(f"on {name_task(k)} {v}" for k, v in pairs.items())
    )
    alone = " alone" * (len(overview.timed) == 1)
    told = word_speed([column for column, _ in ours], row.faster, engines)
    return f"Timed on {_join_tasks(overview.timed)}{alone}. {told}"


def _say_score(row: OverviewRow, baseline: OverviewRow, share: Interval, sections: Sequence[Section]) -> str:
    ours, theirs = _count_seeds(row, sections), _count_seeds(baseline, sections)
    told = (
        [_say_seeds("Both have", ours)]
        if ours == theirs
        else [_say_seeds("It has", ours), _say_seeds("The baseline has", theirs)]
    )
    verdict = " The two cannot be told apart." if share.low <= 1 <= share.high else ""
    return f"{' '.join(told)} Paired 95 % interval {format_range(share, 'share')} %.{verdict}"


def _count_seeds(row: OverviewRow, sections: Sequence[Section]) -> dict[str, int]:
    """Task → how many of the row's runs answer it."""
    return {name_task(section.task): len(section.list_rows(row.runs)) for section in sections}


def _say_seeds(who: str, counts: Mapping[str, int]) -> str:
    """How many on which task: where there is one, the intervals lack what another seed would have changed."""
    tasks: dict[int, list[str]] = defaultdict(list)
    for name, count in counts.items():
        tasks[count].append(name)
    told = [
        f"{'one seed' if count == 1 else f'{count} seeds'} on {join_names(names) if len(tasks) > 1 else 'every task'}"
        for count, names in sorted(tasks.items())
    ]
    text = f"{who} {join_names(told)}"
    if 1 not in tasks:
        return f"{text}."
    if len(tasks) == 1:
        return f"{text}: the intervals do not include variation between seeds."
    return f"{text}; where it is one, the intervals do not include variation between seeds."


def _say_least(
    row: OverviewRow, baseline: OverviewRow, sections: Sequence[Section]
) -> Iterator[tuple[str, str]]:
    """What a mean hides: the task of which least is kept."""
    shares = {
        section.task: own.value / base.value
        for section, own, base in zip(sections, row.scores, baseline.scores, strict=True)
        if own and base and base.value > 0
    }
    if shares:
        least = min(shares, key=shares.__getitem__)
        yield "Kept least on", f"{name_task(least)}: {format_share(shares[least])}."


def _say_origins(row: OverviewRow, sections: Sequence[Section], known: Known) -> Iterator[tuple[str, str]]:
    """Where its tasks go back to other weights of a stage before the task: by another recipe, not by another seed."""
    found: dict[tuple[str, str], dict[Hashable, list[tuple[Run, str]]]] = {}
    for section in sections:
        for made in trace_ancestors([each.run for each in section.list_rows(row.runs)], known):
            if made.stage.kind in STAGES:
                kinds = found.setdefault((made.name, made.stage.kind), {})
                kinds.setdefault(kind_of(made, known, seeds=False), []).append((made, section.task))
    for (name, stage), kinds in found.items():
        if len({tuple(dict.fromkeys(task for _, task in made)) for made in kinds.values()}) > 1:
            count = NUMBERS.get(len(kinds), str(len(kinds)))
            text = f"{count} {STAGES[stage]} of {name} stand behind it, so that its tasks do not go back to the same weights: "
            yield "Origin", f"{text}{'; '.join(_describe_origin(made) for made in kinds.values())}."


def _describe_origin(made: Sequence[tuple[Run, str]]) -> str:
    """Runs of one kind, their precision, and the tasks that go back to them: general-8c6fc96d (bf16) of CoLA and SST-2."""
    names = dict.fromkeys(run.id.rpartition("/")[2] for run, _ in made)
    training = getattr(made[0][0].stage, "training", None)
    bf16 = getattr(training, "bf16", None)
    precision = "" if bf16 is None else f" ({'bf16' if bf16 else 'fp32'})"
    return f"{join_names(list(names))}{precision} of {_join_tasks(list(dict.fromkeys(task for _, task in made)))}"


def _say_caveats(row: OverviewRow, sections: Sequence[Section]) -> str:
    counts = {
        name_task(section.task): sum(concerns(caveat, section, row.runs) for caveat in section.caveats)
        for section in sections
    }
    told = [f"{count} on {name}" for name, count in counts.items() if count]
    if not told:
        return "The data raise none against this comparison."
    text = f"Each task lists its own; these concern this comparison: {', '.join(told)}"
    return f"{text}{_say_gravest(row, sections)}."


def _say_gravest(row: OverviewRow, sections: Sequence[Section]) -> str:
    """By what the model is compared with the baseline, and yet not like with like: the gravest, and on which tasks."""
    raised = {
        kind: [
            section.task
            for section in sections
            if any(each.kind == kind and not set(row.runs).isdisjoint(each.runs) for each in section.caveats)
        ]
        for kind in NOT_ALIKE
    }
    kind = next((kind for kind, tasks in raised.items() if tasks), None)
    return f"; first of all, on {_join_tasks(raised[kind])} {NOT_ALIKE[kind]}" if kind else ""
