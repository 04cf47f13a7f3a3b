"""What the data itself says against trusting a number: each caveat is one rule, with the runs it concerns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from compress.noise import WIDEST_SPREAD, relative_spread
from compress.recipes.stages import Distill, Export
from compress.reporting.candidates import find_baseline, list_candidates, list_rivals
from compress.reporting.data import RunData
from compress.reporting.lineage import name_group
from compress.reporting.schema import Caveat, CaveatKind, Row, Section
from compress.reporting.scores import list_evaluations
from compress.reporting.wording import (
    format_change_with_range,
    format_condition,
    format_range,
    format_score,
    format_share,
    format_significant,
    join_names,
    name_runtime,
    name_task,
)
from compress.tasks import SPLIT_SIZES, GlueSource

Data = Mapping[str, RunData]
Rule = Callable[[Section, Data], Iterator[Caveat]]


def find_caveats(section: Section, runs: Sequence[RunData]) -> tuple[Caveat, ...]:
    """Every caveat that a section's numbers and records raise, the gravest rules first."""
    data = {each.run.id: each for each in runs}
    return tuple(chain.from_iterable(rule(section, data) for rule in RULES))


def _about(section: Section, kind: CaveatKind, rows: Sequence[Row], text: str) -> Iterator[Caveat]:
    """One caveat about several rows, none where there is no row; `{}` in the text becomes their names."""
    if rows:
        names = join_names(_name(section, rows))
        yield Caveat(kind=kind, text=text.replace("{}", names), runs=tuple(row.run.id for row in rows))


def _name(section: Section, rows: Sequence[Row]) -> list[str]:
    """What rows are called: all seeds of a model by one name, and all that are compared by none."""
    ids = {row.run.id for row in rows}
    if len(rows) == len(section.rows) > 1:
        return ["every model here"]
    names: dict[str, str] = {}
    for group in section.groups:
        if ids.issuperset(group.runs):
            names |= dict.fromkeys(group.runs, f"{name_group(section, group)} ({len(group.seeds)} seeds)")
    return list(dict.fromkeys(names.get(row.run.id, row.short) for row in rows))


def _others(section: Section) -> list[Row]:
    return [row for row in section.rows if row.run.id not in section.references]


def _not_evaluated(section: Section, _: Data) -> Iterator[Caveat]:
    rows = [row for row in section.rows if row.primary is None]
    yield from _about(
        section, "not-evaluated", rows, "Without a score on the task's own validation data: {}."
    )


def _different_data(section: Section, _: Data) -> Iterator[Caveat]:
    evaluated = section.find(section.baseline).primary is not None
    rows = [row for row in _others(section) if any(not score.comparable for score in row.scores)]
    text = "{} saw other examples than the baseline: their scores are not compared."
    yield from _about(section, "different-data", rows if evaluated else [], text)


def _no_retention(section: Section, _: Data) -> Iterator[Caveat]:
    scored = [(row, row.primary) for row in _others(section) if row.primary]
    rows = [row for row, score in scored if score.comparable and not score.retention]
    text = "The baseline is no better than the best constant answer, so that a share of its score means nothing; none is given for {}."
    yield from _about(section, "no-retention", rows, text)


def _several_evaluations(section: Section, data: Data) -> Iterator[Caveat]:
    for row in section.rows:
        for split, found in list_evaluations(data[row.run.id]).items():
            shown = next(score.evaluation for score in row.scores if score.split == split)
            others = [evaluation.key for evaluation in found if evaluation.key != shown]
            if others:
                text = f"{{}} was evaluated {len(found)} times on {split}; "
                text += f"shown is {shown}, not {join_names(others)}."
                yield from _about(section, "several-evaluations", [row], text)


def _unresolved(section: Section, _: Data) -> Iterator[Caveat]:
    """Of several seeds their mean counts."""
    for rival in list_rivals(section):
        kept = rival.retention
        if kept and kept.low <= 1 <= kept.high:
            text = (
                f"The data do not tell {{}} from the baseline: the 95 % interval of what it keeps, "
                f"{format_range(kept, 'share')} %, contains 100 %."
            )
            yield from _about(section, "unresolved", rival.rows, text)


def _partial_split(section: Section, _: Data) -> Iterator[Caveat]:
    """Of a task of GLUE, whose splits' sizes are known."""
    found: dict[tuple[str, int, int], dict[str, Row]] = {}
    for row in section.rows:
        source = row.run.answered_task.source
        if not isinstance(source, GlueSource):
            continue
        for score in row.scores:
            whole = SPLIT_SIZES.get((source.config, score.split))
            if whole is not None and score.n != whole:
                found.setdefault((score.split, score.n, whole), {})[row.run.id] = row
    for (split, n, whole), rows in found.items():
        text = (
            f"Only {n} of the {whole} examples of {split} were answered by {{}}: no score of the whole split."
        )
        yield from _about(section, "partial-split", list(rows.values()), text)


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
        yield from _about(section, "partial-split", told, text)


def _truncated(section: Section, _: Data) -> Iterator[Caveat]:
    for row in section.rows:
        counts = {(s.split, s.truncated, s.n, s.batches.max_length) for s in row.scores if s.truncated}
        for split, truncated, n, length in sorted(counts):
            text = f"{truncated} of {n} texts of {split} were cut to {length} tokens when {{}} was evaluated."
            yield from _about(section, "truncated", [row], text)


def _not_measured(section: Section, _: Data) -> Iterator[Caveat]:
    rows = [
        row
        for one in list_candidates(section)
        if not any(one.find_timing(column) for column in section.timings)
        for row in one.rows
    ]
    yield from _about(section, "not-measured", rows, "Without a measured latency: {}.")


def _no_common_session(section: Section, _: Data) -> Iterator[Caveat]:
    def compared(row: Row) -> bool:
        timings = (column.find(row.run.id) for column in section.timings)
        return any(timing and timing.speedup for timing in timings)

    measured = [row for row in _others(section) if any(column.find(row.run.id) for column in section.timings)]
    rows = [row for row in measured if not compared(row)]
    text = "Never measured in one session with the baseline, so that no speed-up is given: {}."
    yield from _about(section, "no-common-session", rows, text)


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
            yield from _about(section, "timing-spread", [row], f"{text}{format_condition(column.condition)}.")


def _selected_on_validation(section: Section, _: Data) -> Iterator[Caveat]:
    rows = [row for row in section.rows if getattr(row.run.stage, "select_on", "holdout") == "validation"]
    text = "{} was selected on the validation data that it is scored on, which flatters the score."
    yield from _about(section, "selected-on-validation", rows, text)


def _weak_teacher(section: Section, _: Data) -> Iterator[Caveat]:
    def was_allowed(row: Row) -> bool:
        """Records of before teachers were counted say no more than whether one would have been."""
        run = row.run
        if not isinstance(run.stage, Distill):
            return False
        allowed = run.stage.allow_weak_teacher or run.answered_task.weak_teacher_allowed
        return allowed and run.facts.get("weak_teachers") != 0

    rows = [row for row in section.rows if was_allowed(row)]
    text = "A teacher no better than a constant answer was allowed for {}; compare its score with chance."
    yield from _about(section, "weak-teacher", rows, text)


def _teacher_missing(section: Section, _: Data) -> Iterator[Caveat]:
    here = {row.run.id for row in section.rows}
    rows = [
        row
        for row in section.rows
        if any(parent.role == "teacher" and parent.run_id not in here for parent in row.run.parents)
    ]
    yield from _about(section, "teacher-missing", rows, "The teacher of {} is no run of this report.")


def _parent_made_anew(section: Section, _: Data) -> Iterator[Caveat]:
    """A key knows the recipe, not the machine: the same run made again, elsewhere or by force, has other weights."""
    rows = {row.run.id: row for row in section.rows}
    started = {each.run.id: each.run.started for each in (*section.rows, *section.ancestors)}
    found: dict[str, dict[str, Row]] = {}
    for link in section.lineage:
        if link.run and link.child in rows and started[link.child] < started[link.run]:
            found.setdefault(link.parent, {})[link.child] = rows[link.child]
    for parent, children in found.items():
        text = f"{{}} began before {parent}, as it is told of here, was made: what it came from was an earlier making of that run, by the same recipe and seed."
        yield from _about(section, "parent-made-anew", list(children.values()), text)


def _single_seed(section: Section, _: Data) -> Iterator[Caveat]:
    """What stands alone; other than weights that came from elsewhere all were trained from some seed, here or before."""
    rows = [row for one in list_candidates(section) if not one.seeds for row in one.rows]
    text = "One seed each was trained of {}: the intervals hold the choice of examples, not that of the seed."
    yield from _about(section, "single-seed", rows, text)


def _uncommitted_changes(section: Section, data: Data) -> Iterator[Caveat]:
    def changed(row: Row) -> bool:
        each = data[row.run.id]
        environments = [each.run.environment]
        environments += [record.environment for record in each.evaluations]
        environments += [record.environment for record in each.sessions]
        return any((environment.commit or "").endswith("+changes") for environment in environments)

    rows = [row for row in section.rows if changed(row)]
    text = "The code had uncommitted changes when {} was made or measured."
    yield from _about(section, "uncommitted-changes", rows, text)


def _below_published(section: Section, _: Data) -> Iterator[Caveat]:
    """A baseline that is worse than what was published of it: what is kept is a share of less."""
    base, published = find_baseline(section), section.published
    if published and base.score and base.score.high < published.score:
        whose = f"what was published of {published.model}" + (
            "" if published.same else ", other weights of its shape"
        )
        text = (
            f"{{}} scores {format_score(base.score.value)} ({format_range(base.score, 'score')}), less than "
            f"{whose}: {format_score(published.score)} ({published.source}). What is kept is a share of less."
        )
        yield from _about(section, "below-published", base.rows, text)


def _worse_than_nothing(section: Section, _: Data) -> Iterator[Caveat]:
    """A score whose interval reaches zero, which for the correlations is what knowing nothing scores."""
    for one in list_candidates(section):
        if one.score and one.score.low <= 0:
            text = f"The score of {{}}, {format_score(one.score.value)}, cannot be told from zero."
            yield from _about(section, "unresolved", one.rows, text)


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
        yield from _about(section, "other-engine", found[engine], text)


def _timing_control(section: Section, _: Data) -> Iterator[Caveat]:
    """An export in the baseline's own format is the baseline: what its time differs by is what times differ by at no cause."""
    base = section.find(section.baseline)
    column = section.timing
    other = column.find(base.run.id) if column else None
    for row in _others(section):
        stage, parents = row.run.stage, {parent.run_id for parent in row.run.parents}
        copied = row.run.facts.get("layers_copied") is True
        same = isinstance(stage, Export) and stage.format == "transformers" and not copied
        own = column.find(row.run.id) if column and same and base.run.id in parents else None
        if own and other and own.speedup and own.engine == other.engine:
            found = format_change_with_range(own.speedup, "faster", "slower")
            text = f"{{}} has the weights and the engine of {base.short} and was timed as {found}: differences of that size mean nothing."
            yield from _about(section, "timing-spread", [row], text)


RULES: tuple[Rule, ...] = (
    _different_data,
    _not_evaluated,
    _no_retention,
    _partial_split,
    _partial_train_split,
    _selected_on_validation,
    _below_published,
    _weak_teacher,
    _teacher_missing,
    _parent_made_anew,
    _no_common_session,
    _not_measured,
    _timing_spread,
    _unresolved,
    _worse_than_nothing,
    _single_seed,
    _truncated,
    _several_evaluations,
    _separate_sessions,
    _uncommitted_changes,
    _other_engine,
    _timing_control,
)
