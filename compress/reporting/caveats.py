"""What the data itself says against trusting a number: each caveat is one rule, with the runs it concerns."""

from collections.abc import Iterator, Sequence
from itertools import chain

from compress.noise import WIDEST_SPREAD, relative_spread
from compress.recipes.stages import Distill, Export
from compress.reporting import score_caveats as scores
from compress.reporting.candidates import find_baseline, find_devices, list_candidates, list_rivals
from compress.reporting.data import RunData
from compress.reporting.formats import (
    differs,
    format_change_with_range,
    format_range,
    format_share,
    format_significant,
)
from compress.reporting.raising import Data, Rule, list_others, raise_about
from compress.reporting.schema import Caveat, Row, Section
from compress.reporting.wording import format_condition, name_runtime, name_task


def find_caveats(section: Section, runs: Sequence[RunData]) -> tuple[Caveat, ...]:
    """Every caveat that a section's numbers and records raise, the gravest rules first."""
    data = {each.run.id: each for each in runs}
    return tuple(chain.from_iterable(rule(section, data) for rule in RULES))


def _partial_train_split(section: Section, _: Data) -> Iterator[Caveat]:
    """Of any run that a row goes back to: what a teacher learned first counts, and is told of it, not of each of its pupils."""
    found: dict[tuple[str, int, int], dict[str, Row]] = {}
    for row in section.rows:
        for ancestor in row.run.descent:
            split = ancestor.train_split
            if split and split.published is not None and split.examples != split.published:
                task = ancestor.id.partition("/")[0]
                found.setdefault((task, split.examples, split.published), {})[row.run.id] = row
    for (task, n, whole), rows in found.items():
        first = [row for row in rows.values() if not any(each.id in rows for each in row.run.lineage)]
        told = first if len(rows) < len(section.rows) else list(rows.values())
        text = f"Only {n} of the {whole} training examples of {name_task(task)} stand behind {{}}"
        text += ", and behind what was made from it." if len(told) < len(rows) else "."
        yield from raise_about(section, "partial-split", told, text)


def _not_measured(section: Section, _: Data) -> Iterator[Caveat]:
    rows = [
        row
        for one in list_candidates(section)
        if not any(one.find_timing(column) for column in section.timings)
        for row in one.rows
    ]
    yield from raise_about(section, "not-measured", rows, "Without a measured latency: {}.")


def _no_common_session(section: Section, _: Data) -> Iterator[Caveat]:
    """Of a model, not of its seeds: how fast it is, one of them tells for all."""
    base = find_baseline(section)
    never: list[Row] = []
    elsewhere: dict[tuple[str, str], list[Row]] = {}
    for one in list_rivals(section):
        timings = [timing for column in section.timings for run in one.runs if (timing := column.find(run))]
        if not timings or any(timing.speedup for timing in timings):
            continue
        devices = find_devices(section.timings, base.runs, one.runs)
        told = elsewhere.setdefault(devices, []) if devices else never
        told += one.rows
    text = "Never measured in one session with the baseline, so that no speed-up is given: {}."
    yield from raise_about(section, "no-common-session", never, text)
    for (theirs, ours), rows in elsewhere.items():
        text = f"Measured on another device than the baseline ({ours}, not {theirs}), so that no speed-up is given: {{}}."
        yield from raise_about(section, "no-common-session", rows, text)


def _separate_sessions(section: Section, _: Data) -> Iterator[Caveat]:
    settings = {column.sessions for column in section.timings}
    if len(settings) > 1:
        text = (
            f"Times come from {len(settings)} separate sets of sessions (other machines, versions or "
            "models); they are listed apart and never mixed."
        )
        yield Caveat(kind="separate-sessions", text=text)


def _timing_spread(section: Section, _: Data) -> Iterator[Caveat]:
    """Of each row the widest of its spreads, in whichever column."""
    measured = (row for row in section.rows if any(column.find(row.run.id) for column in section.timings))
    for row in measured:
        found = [
            (relative_spread(interval.value, interval.low, interval.high), name, unit, interval, column)
            for column in section.timings
            if (timing := column.find(row.run.id))
            for name, unit, interval in (
                ("speed-up", "×", timing.speedup),
                ("latency", " ms", timing.milliseconds),
            )
            if interval
        ]
        spread, name, unit, interval, column = max(found, key=lambda each: each[0])
        if spread > WIDEST_SPREAD:
            over = "over sessions" if column.spread == "sessions" else "between the quartiles of its rounds"
            value = f"{format_significant(interval.value)}{unit} ({format_range(interval, 'ratio')})"
            text = f"The {name} of {{}} varies by {format_share(spread)} {over}: {value} at "
            yield from raise_about(
                section, "timing-spread", [row], f"{text}{format_condition(column.condition)}."
            )


def _weak_teacher(section: Section, _: Data) -> Iterator[Caveat]:
    """Who learned from one, and who would have been let: an allowance that no teacher needed is none to tell."""
    taught = [row for row in section.rows if isinstance(row.run.stage, Distill)]
    weak = [row for row in taught if row.run.facts.get("weak_teachers")]
    text = "A teacher no better than a constant answer was allowed for {}; compare its score with chance."
    yield from raise_about(section, "weak-teacher", weak, text)
    unknown = [row for row in taught if _may_have_had_a_weak_teacher(row, section.constant)]
    text = "A teacher no better than a constant answer would have been allowed for {}, and the record does not tell that it was better; compare its score with chance."
    yield from raise_about(section, "weak-teacher", unknown, text)


def _may_have_had_a_weak_teacher(row: Row, constant: float | None) -> bool:
    """Of records of before teachers were counted: unless what the teacher scored on the hold-out is more than a constant has.

    What a constant has on the hold-out they do not say; what it has on the validation examples stands for it.
    """
    run = row.run
    if not isinstance(run.stage, Distill) or "weak_teachers" in run.facts:
        return False
    scored = run.facts.get("teacher_holdout_score")
    scores = scored if isinstance(scored, list) else [scored]
    known = [score for score in scores if isinstance(score, int | float)]
    better = constant is not None and len(known) == len(scores) > 0 and min(known) > constant
    return (run.stage.allow_weak_teacher or run.answered_task.weak_teacher_allowed) and not better


def _teacher_missing(section: Section, _: Data) -> Iterator[Caveat]:
    here = {row.run.id for row in section.rows}
    rows = [
        row
        for row in section.rows
        if any(parent.teaches and parent.run_id not in here for parent in row.run.parents)
    ]
    yield from raise_about(section, "teacher-missing", rows, "The teacher of {} is no run of this report.")


def _parent_made_anew(section: Section, _: Data) -> Iterator[Caveat]:
    """A key knows the recipe, not the machine: the same run made again, elsewhere or by force, has other weights."""
    rows = {row.run.id: row for row in section.rows}
    runs = [*(row.run for row in section.rows), *(made.run for made in section.ancestors)]
    started = {run.id: run.started for run in runs}
    found: dict[str, dict[str, Row]] = {}
    for link in section.lineage:
        if link.run and link.child in rows and started[link.child] < started[link.run]:
            found.setdefault(link.parent, {})[link.child] = rows[link.child]
    for parent, children in found.items():
        text = f"{{}} began before the {parent} shown here was made, and so came from an earlier run of the same recipe and seed, whose weights may differ."
        yield from raise_about(section, "parent-made-anew", list(children.values()), text)


def _single_seed(section: Section, _: Data) -> Iterator[Caveat]:
    """What stands alone; other than weights that came from elsewhere all were trained from some seed, here or before."""
    rows = [row for one in list_candidates(section) if not one.seeds for row in one.rows]
    text = "Trained with one seed only: {}. The intervals cover the choice of examples, not that of the seed."
    yield from raise_about(section, "single-seed", rows, text)


def _uncommitted_changes(section: Section, data: Data) -> Iterator[Caveat]:
    def changed(row: Row) -> bool:
        each = data[row.run.id]
        environments = [each.run.environment]
        environments += [record.environment for record in each.evaluations]
        environments += [record.environment for record in each.sessions]
        return any((environment.commit or "").endswith("+changes") for environment in environments)

    rows = [row for row in section.rows if changed(row)]
    text = "The code had uncommitted changes when {} was made or measured."
    yield from raise_about(section, "uncommitted-changes", rows, text)


def _other_engine(section: Section, _: Data) -> Iterator[Caveat]:
    """Who computes is a part of what is compared: a runtime may be the faster one for the very same model."""
    base = find_baseline(section)
    found: dict[str, list[Row]] = {}
    for one in list_candidates(section):
        if timing := one.find_timing(section.timing):
            found.setdefault(name_runtime(timing.engine), []).extend(one.rows)
    first, *others = found or {"": []}
    for engine in others:
        text = f"{base.name} was timed in {first}, {{}} in {engine}: what is told of speed is model and engine together."
        yield from raise_about(section, "other-engine", found[engine], text)


def _timing_control(section: Section, _: Data) -> Iterator[Caveat]:
    """An export in the baseline's own format is the baseline: what its time differs by is what times differ by at no cause."""
    base = section.find(section.baseline)
    column = section.timing
    other = column.find(base.run.id) if column else None
    for row in list_others(section):
        stage, parents = row.run.stage, {parent.run_id for parent in row.run.parents}
        copied = row.run.facts.get("layers_copied") is True
        same = isinstance(stage, Export) and stage.format == "transformers" and not copied
        own = column.find(row.run.id) if column and same and base.run.id in parents else None
        if own and other and own.speedup and own.engine == other.engine and differs(own.speedup.value):
            found = format_change_with_range(own.speedup, "faster", "slower")
            text = f"{{}} has the weights and the engine of {base.short} and was timed {found} all the same: differences of that size mean nothing."
            yield from raise_about(section, "timing-spread", [row], text)


RULES: tuple[Rule, ...] = (
    scores.find_different_data,
    scores.find_not_evaluated,
    scores.find_no_retention,
    scores.find_like_constant,
    scores.find_other_length,
    scores.find_partial_split,
    _partial_train_split,
    scores.find_selected_on_validation,
    scores.find_below_published,
    _weak_teacher,
    _teacher_missing,
    _parent_made_anew,
    _no_common_session,
    _not_measured,
    _timing_spread,
    scores.find_unresolved,
    _single_seed,
    scores.find_truncated,
    scores.find_several_evaluations,
    _separate_sessions,
    _uncommitted_changes,
    _other_engine,
    _timing_control,
)
