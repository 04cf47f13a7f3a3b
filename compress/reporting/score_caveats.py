"""Caveats about scores: which examples were answered, how they were cut, and what the intervals do not tell apart."""

from collections.abc import Iterator, Sequence
from math import isclose

from compress.reporting.candidates import Candidate, find_baseline, list_candidates, list_rivals
from compress.reporting.formats import format_range, format_score
from compress.reporting.raising import Data, list_others, name_rows, raise_about
from compress.reporting.schema import Caveat, Row, ScoreResult, Section
from compress.reporting.scores import list_evaluations
from compress.reporting.wording import join_names
from compress.tasks import SPLIT_SIZES, GlueSource


def find_different_data(section: Section, _: Data) -> Iterator[Caveat]:
    """Who did not answer the baseline's examples."""
    evaluated = section.find(section.baseline).primary is not None
    rows = [row for row in list_others(section) if any(not score.comparable for score in row.scores)]
    text = "{} saw other examples than the baseline: their scores are not compared."
    yield from raise_about(section, "different-data", rows if evaluated else [], text)


def find_not_evaluated(section: Section, _: Data) -> Iterator[Caveat]:
    """Who has no score."""
    rows = [row for row in section.rows if row.primary is None]
    yield from raise_about(
        section, "not-evaluated", rows, "Without a score on the task's own validation data: {}."
    )


def find_no_retention(section: Section, _: Data) -> Iterator[Caveat]:
    """Of whom no share is told, since the baseline knows nothing."""
    scored = [(row, row.primary) for row in list_others(section) if row.primary]
    rows = [row for row, score in scored if score.comparable and not score.retention]
    text = "The baseline is no better than the best constant answer, so that a share of its score means nothing; none is given for {}."
    yield from raise_about(section, "no-retention", rows, text)


def find_several_evaluations(section: Section, data: Data) -> Iterator[Caveat]:
    """Who was evaluated more than once on a split: one evaluation is shown."""
    for row in section.rows:
        for split, found in list_evaluations(data[row.run.id]).items():
            shown = next(score.evaluation for score in row.scores if score.split == split)
            others = [evaluation.key for evaluation in found if evaluation.key != shown]
            if others:
                text = f"{{}} was evaluated {len(found)} times on {split}; "
                text += f"shown is {shown}, not {join_names(others)}."
                yield from raise_about(section, "several-evaluations", [row], text)


def find_partial_split(section: Section, _: Data) -> Iterator[Caveat]:
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
        yield from raise_about(section, "partial-split", list(rows.values()), text)


def find_other_length(section: Section, _: Data) -> Iterator[Caveat]:
    """Who read more or less of the same texts than the baseline, where that made a difference."""
    theirs = {score.split: score for score in section.find(section.baseline).scores}
    found: dict[tuple[str, int], dict[str, tuple[Row, ScoreResult]]] = {}
    for row in list_others(section):
        for own in row.scores:
            base = theirs.get(own.split)
            if base and own.comparable and _differ_in_length(own, base):
                found.setdefault((own.split, own.batches.max_length), {})[row.run.id] = (row, own)
    for (split, length), told in found.items():
        base = theirs[split]
        ours = _say_cut([own for _, own in told.values()])
        text = (
            f"Of the {base.n} texts of {split} {{}} read up to {length} tokens each ({ours}), the baseline up to "
            f"{base.batches.max_length} ({_say_cut([base])}): the comparison is not like with like."
        )
        yield from raise_about(section, "other-length", [row for row, _ in told.values()], text)


def _differ_in_length(own: ScoreResult, base: ScoreResult) -> bool:
    return own.batches.max_length != base.batches.max_length and bool(own.truncated or base.truncated)


def _say_cut(scores: Sequence[ScoreResult]) -> str:
    return f"{_count_cut(scores)} cut" if any(score.truncated for score in scores) else "none cut"


def _count_cut(scores: Sequence[ScoreResult]) -> str:
    """How many texts were cut: of several models from the fewest to the most."""
    counts = [score.truncated for score in scores]
    return "–".join(map(str, sorted({min(counts), max(counts)})))


def find_truncated(section: Section, _: Data) -> Iterator[Caveat]:
    """Whose texts were cut, told once of all that were cut alike: seeds differ in nothing here."""
    found: dict[tuple[str, int, int], dict[str, tuple[Row, ScoreResult]]] = {}
    for row in section.rows:
        for score in row.scores:
            if score.truncated:
                alike = found.setdefault((score.split, score.n, score.batches.max_length), {})
                alike[row.run.id] = (row, score)
    for (split, n, length), told in found.items():
        counts = _count_cut([score for _, score in told.values()])
        text = f"Cut to {length} tokens: {counts} of the {n} texts of {split}, in the evaluation of {{}}."
        yield from raise_about(section, "truncated", [row for row, _ in told.values()], text)


def find_selected_on_validation(section: Section, _: Data) -> Iterator[Caveat]:
    """Who was chosen by what it is scored on."""
    rows = [row for row in section.rows if getattr(row.run.stage, "select_on", "holdout") == "validation"]
    text = "{} was selected on the validation data that it is scored on, which flatters the score."
    yield from raise_about(section, "selected-on-validation", rows, text)


def find_below_published(section: Section, _: Data) -> Iterator[Caveat]:
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
        yield from raise_about(section, "below-published", base.rows, text)


def find_unresolved(section: Section, _: Data) -> Iterator[Caveat]:
    """Whom the data do not tell from the baseline, all at once; who answers as it does is no matter of chance."""
    near = [
        (one, f"{format_range(kept, 'share')} %")
        for one in list_rivals(section)
        if (kept := one.retention) and kept.low <= 1 <= kept.high
    ]
    same = [one for one, _ in near if _answers_alike(one)]
    text = "Every example is answered as the baseline answers it by {}."
    yield from raise_about(section, "unresolved", _join_rows(same), text)
    others = [(one, share) for one, share in near if not _answers_alike(one)]
    if len(others) == 1:
        text = f"The data do not tell {{}} from the baseline: the 95 % interval of what it keeps, {others[0][1]}, contains 100 %."
    else:
        text = f"The data do not tell these from the baseline, as the 95 % interval of what each keeps contains 100 %: {_list_with(section, others)}."
    yield from raise_about(section, "unresolved", _join_rows([one for one, _ in others]), text)


def _join_rows(candidates: Sequence[Candidate]) -> list[Row]:
    return [row for one in candidates for row in one.rows]


def _answers_alike(one: Candidate) -> bool:
    """Whether each of its seeds gives the baseline's answers, and not only as many right ones."""
    primary, kept = one.rows[0].primary, one.retention
    agreed = [each.agreement for each in one.fidelity if primary and each.split == primary.split]
    bounds = [bound for each in (kept, *agreed) if each for bound in (each.low, each.high)]
    return len(bounds) == 4 and all(isclose(bound, 1, rel_tol=1e-12) for bound in bounds)


def find_like_constant(section: Section, _: Data) -> Iterator[Caveat]:
    """Whose interval reaches what knowing nothing scores: the share that such a model keeps is none of its own."""
    constant = section.constant
    if constant is None:
        return
    nothing = f"that of the best constant answer, {format_score(constant)}"
    low = [
        (one, score)
        for one in list_candidates(section)
        if (score := one.score) and one.comparable and score.low <= constant
    ]
    for verdict, plural, below in (
        ("is below", "are below", True),
        ("cannot be told from", "cannot be told from", False),
    ):
        found = [(one, format_score(score.value)) for one, score in low if (score.high < constant) is below]
        if len(found) == 1:
            text = f"The score of {{}}, {found[0][1]}, {verdict} {nothing}."
        else:
            text = f"These scores {plural} {nothing}: {_list_with(section, found)}."
        yield from raise_about(section, "like-constant", _join_rows([one for one, _ in found]), text)


def _list_with(section: Section, told: Sequence[tuple[Candidate, str]]) -> str:
    """Names, each with its number."""
    return join_names([f"{join_names(name_rows(section, one.rows))} {number}" for one, number in told])
