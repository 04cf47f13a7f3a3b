"""From a report's data to what it says: rows, baseline, front, lineage and caveats."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from compress.errors import CompressError
from compress.kinds import Known, kind_of
from compress.reporting.candidates import find_front
from compress.reporting.caveats import find_caveats
from compress.reporting.curves import read_curves
from compress.reporting.data import ReportData, RunData
from compress.reporting.earlier import list_before
from compress.reporting.fidelity import agree_by_constant, judge_fidelity
from compress.reporting.finding import Meant, find_baselines
from compress.reporting.headline import find_headline
from compress.reporting.lineage import describe_making, find_family, list_links
from compress.reporting.naming import name_runs
from compress.reporting.origins import build_ancestors, trace_ancestors
from compress.reporting.overview import find_overview
from compress.reporting.parts import read_parts
from compress.reporting.published import find_published
from compress.reporting.schema import Report, Row, Section, TimingColumn
from compress.reporting.scores import (
    count_answers,
    find_primary,
    list_evaluations,
    score_constant,
    score_run,
    settle_data,
)
from compress.reporting.seeds import group_seeds, list_references
from compress.reporting.timings import compare_timings


def compare(data: ReportData) -> Report:
    """Everything a report says about its runs.

    Raises:
        CompressError: The baseline that was asked for is no run of the report, or could be several; or two tasks share a name.
    """
    tasks: dict[str, list[RunData]] = defaultdict(list)
    for each in data.runs:
        tasks[each.run.answered_task.name].append(each)
    for runs in tasks.values():
        _require_one_task(runs)
    known = {each.run.id: each.run for each in [*data.ancestors, *data.runs]}
    name = data.manifest.baseline
    chosen = {} if name is None else find_baselines(data.runs, name, known)
    sections, settled = [], []
    for task, runs in sorted(tasks.items()):
        here, references = _settle(runs, chosen.get(task), known)
        sections.append(_compare_task(here, references, ancestors=data.ancestors, known=known))
        settled += here
    return Report(
        title=data.manifest.title,
        command=data.manifest.command,
        sections=tuple(sections),
        overview=find_overview(sections, settled, known),
    )


def _settle(
    runs: Sequence[RunData], chosen: Meant | None, known: Known
) -> tuple[list[RunData], list[RunData]]:
    """The runs of a task, with the data that are compared, and of them the baseline's seeds, the baseline first."""
    model = chosen.seeds if chosen else _choose_model(runs, known)
    base = _choose_seed(chosen.runs if chosen else model, runs, model)
    settled = {each.run.id: each for each in settle_data(runs, base, model)}
    seeds = [settled[each.run.id] for each in model]
    return list(settled.values()), list_references(settled[base.run.id], seeds, known=known)


def _compare_task(
    runs: Sequence[RunData], references: Sequence[RunData], *, ancestors: Sequence[RunData], known: Known
) -> Section:
    models = [each.run for each in runs]
    earlier = {each.run.id: each for each in ancestors}
    baseline = references[0].run.id
    before = trace_ancestors(models, {name: each.run for name, each in earlier.items()})
    shorts = name_runs(models, known)
    told = build_ancestors(before, earlier, known)
    names = shorts | {made.run.id: made.label for made in told}
    rows = [_build_row(each, references, known, short=shorts[each.run.id]) for each in runs]
    rows.sort(key=lambda row: (row.run.id != baseline, -row.bytes, row.run.id))
    timings = compare_timings(runs, baseline)
    rows = _add_parts(rows, runs, timings)
    section = Section(
        task=rows[0].run.answered_task.name,
        metric=rows[0].run.answered_task.primary_metric,
        constant=score_constant(references[0]),
        constant_agreement=agree_by_constant(references[0]),
        baseline=baseline,
        rows=tuple(rows),
        front=(),
        ancestors=told,
        groups=group_seeds(rows, runs, references, known=known),
        published=find_published(rows[0]),
        timings=timings,
        lineage=tuple(
            link
            for run in (*(row.run for row in rows), *(ancestor.run for ancestor in told))
            for link in list_links(run, names)
        ),
        caveats=(),
        headline=None,
    )
    section = section.model_copy(update={"front": find_front(section)})
    section = section.model_copy(update={"caveats": find_caveats(section, runs)})
    return section.model_copy(update={"headline": find_headline(section)})


def _build_row(data: RunData, references: Sequence[RunData], known: Known, *, short: str) -> Row:
    run = data.run
    made = describe_making(run, known)
    size = run.artefact_bytes
    scores = score_run(data, references)
    return Row(
        run=run,
        label=f"{run.name} · {made}",
        short=short,
        made=made,
        family=find_family(run, known),
        bytes=size,
        tokenizer_bytes=run.tokenizer_bytes,
        smaller=max(each.run.artefact_bytes for each in references) / size if size else math.nan,
        primary=find_primary(data, references[0], scores),
        scores=scores,
        fidelity=judge_fidelity([data], references),
        curves=read_curves(data.history),
    )


def _add_parts(rows: Sequence[Row], runs: Sequence[RunData], timings: Sequence[TimingColumn]) -> list[Row]:
    """The rows, with where their parameters go, and their milliseconds in the first column."""
    parts = {each.run.id: read_parts(each, timings[0] if timings else None) for each in runs}
    return [row.model_copy(update={"parts": parts[row.run.id]}) for row in rows]


def _require_one_task(runs: Sequence[RunData]) -> None:
    """Refuse tasks that share nothing but their name: their scores would stand in one column."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for each in runs:
        task = each.run.answered_task
        labels = ", ".join(task.labels or ("a number",))
        kinds[f"{labels} by {', '.join(task.metrics)}"].append(each.run.id)
    if len(kinds) > 1:
        told = "; ".join(f"{kind} in {', '.join(sorted(ids))}" for kind, ids in sorted(kinds.items()))
        raise CompressError(
            f"The runs of the task {runs[0].run.answered_task.name!r} answer different questions: {told}.",
            "Make a report of each, or give one task another name in its file and make its runs again.",
        )


def _choose_model(runs: Sequence[RunData], known: Known) -> list[RunData]:
    """Where none is asked for: the seeds of the teacher of most students; else of the one with the most parameters.

    Of equals the one that most others were made from, then the newest. Who teaches a model that was pruned or is to be rounded is usually that model as it was: these do
    not count.
    """
    kinds: dict[Hashable, list[RunData]] = defaultdict(list)
    for each in runs:
        kinds[kind_of(each.run, known, seeds=False)].append(each)
    students = [each.run for each in runs if getattr(each.run.stage, "student", None) is not None]
    taught = Counter(parent.run_id for run in students for parent in run.parents if parent.teaches)

    gone_on_with = Counter(before for each in runs for before in list_before(each.run, known))

    def weigh(seeds: Sequence[RunData]) -> tuple[int, int, int, tuple[str, str]]:
        newest = max(seeds, key=_age)
        pupils, copies = (sum(found[each.run.id] for each in seeds) for found in (taught, gone_on_with))
        return pupils, newest.run.parameters, copies, _age(newest)

    return max(kinds.values(), key=weigh)


def _choose_seed(named: Sequence[RunData], runs: Sequence[RunData], model: Sequence[RunData]) -> RunData:
    """Of the seeds of a model that were named: of those whose examples most runs answered the one measured with the most others, then the newest."""
    answers = count_answers(runs, model)
    beside = Counter(session.session for each in runs for session in each.sessions)

    def prefer(each: RunData) -> tuple[int, int, tuple[str, str]]:
        split, found = next(iter(list_evaluations(each).items()), ("", []))
        measured = sum(beside[session.session] - 1 for session in each.sessions)
        return max((answers[split][one.data] for one in found), default=0), measured, _age(each)

    return max(named, key=prefer)


def _age(each: RunData) -> tuple[str, str]:
    return each.run.started, each.run.id
