"""The answer in ten seconds: how much smaller and faster, how much of the score is left, how sure."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from compress.reporting.candidates import Candidate, find_baseline, find_devices, list_rivals
from compress.reporting.formats import (
    format_change,
    format_change_range,
    format_range,
    format_score,
    format_share,
    is_worse,
)
from compress.reporting.schema import Caveat, Headline, Interval, Section, Timed, Timing
from compress.reporting.wording import (
    describe_sessions,
    describe_two_engines,
    format_condition,
    name_metric,
    strip_texts,
)

Choice = TypeVar("Choice")

WORTHWHILE = 0.95
"""The headline is about the smallest model that keeps so much of the baseline's score ..."""
AS_GOOD = 0.02
"""... or, where none does, about the smallest that keeps as much as the best one but for this share."""

CONCERNING = "Concerns the headline."
"""What a caveat begins with that is to be read before relying on it."""


def find_headline(section: Section) -> Headline | None:
    """The headline of a section, None where nothing can be compared with the baseline."""
    chosen = _choose(section)
    if chosen is None:
        return None
    one, reason = chosen
    row, timing = one.heaviest, one.find_timing(section.timing)
    return Headline(
        run=row.run.id,
        runs=one.runs,
        reason=reason,
        sentence=_word_sentence(section, one, timing),
        certainty=(
            ("Size", "Bytes on disk of weights and graph, the tokenizer apart: exact."),
            ("Speed", _say_speed(section, one)),
            ("Score", _say_score(section, one)),
            *_say_published(section),
            ("Caveats", _say_caveats(section, one)),
        ),
    )


def choose_smallest(
    kept: Sequence[tuple[Choice, float]], size: Callable[[Choice], Any]
) -> tuple[Choice, str]:
    """The smallest that keeps enough of the baseline's score, or of those that keep most; and why that one.

    Args:
        kept: Each with the share that it keeps; one or more.
        size: What they are ordered by.
    """
    best = max(share for _, share in kept)
    enough = WORTHWHILE if best >= WORTHWHILE else best - AS_GOOD
    good = [each for each, share in kept if share >= enough]
    bar = f"{100 * WORTHWHILE:.0f} % of the score"
    reason = f"The smallest model here that keeps at least {bar} (as measured)."
    if best < WORTHWHILE:
        near = f"{100 * AS_GOOD:.0f} points"
        reason = f"No model here keeps {bar} (as measured); this is the smallest of those within {near} of the best."
    return min(good, key=size), reason


def _choose(section: Section) -> tuple[Candidate, str] | None:
    others = list_rivals(section)
    kept = [(each, each.retention.value) for each in others if each.retention]
    if kept:
        return choose_smallest(kept, _size)
    if others:
        return min(others, key=_size), "The smallest model here; its score is not compared."
    return None


def _size(one: Candidate) -> tuple[int, str]:
    return one.heaviest.bytes, one.rows[0].run.id


def _word_sentence(section: Section, one: Candidate, timing: Timing | None) -> str:
    baseline = find_baseline(section).name
    smaller = one.heaviest.smaller
    parts = [format_change(smaller, "smaller", "larger")] if math.isfinite(smaller) and smaller > 0 else []
    if timing and timing.speedup:
        parts.append(format_change(timing.speedup.value, "faster", "slower"))
    compared = f"{one.name} is {' and '.join(parts)} than {baseline}" if parts else one.name
    speed = "" if timing and timing.speedup else " (their speed was not compared)"
    metric = name_metric(section.metric)
    if one.retention is None:
        return f"{compared}{speed}; its {metric} is not compared: {say_why_not(section, one)}."
    seeds = f" (mean of {len(one.group.seeds)} seeds)" if one.group else ""
    return f"{compared}{speed} and keeps {format_share(one.retention.value)} of its {metric}{seeds}."


def say_why_not(section: Section, one: Candidate) -> str:
    """Why no share of the baseline's score is told of a candidate."""
    if one.score is None:
        return "it has none"
    if find_baseline(section).score is None:
        return "the baseline was not scored"
    return (
        "the baseline knows no more than a constant answer"
        if one.comparable
        else "the two were not scored on the same examples"
    )


def _say_speed(section: Section, one: Candidate) -> str:
    column, timing = section.timing, one.find_timing(section.timing)
    if column is None or timing is None or timing.speedup is None:
        return f"Not known: {say_why_untimed(section, one)}."
    engines = [
        (each.name, found.engine)
        for each in (find_baseline(section), one)
        if (found := each.find_timing(column))
    ]
    return word_speed([column], timing.speedup, describe_two_engines(*engines))


def word_speed(columns: Sequence[Timed], speedup: Interval, engines: str) -> str:
    """How sure a speed-up is: its bounds, where it was measured and in which engines.

    Args:
        columns: The times that it is of, of several tasks all taken alike; one or more.
        speedup: With the range over the sessions or rounds of the one, over the tasks of several.
        engines: Of the baseline and the model.
    """
    bounds = f"{format_change_range(speedup)}×{' slower' * is_worse(speedup.value)}"
    column, several = columns[0], len(columns) > 1
    told = f"Range over the tasks {bounds}." if several else describe_sessions(column, bounds)
    condition = strip_texts(column.condition) if several else column.condition
    return f"{told} At {format_condition(condition)}, on {column.machine}; {engines}."


def say_why_untimed(section: Section, one: Candidate) -> str:
    """Why no speed-up is told of a candidate: a session may have both, and yet nothing that may be compared."""
    together = [
        column
        for column in section.timings
        if any((timing := column.find(run)) and timing.speedup for run in one.runs)
    ]
    if together:
        where = f"{format_condition(together[0].condition)}, on {together[0].machine}"
        return f"the two were measured together only at {where}, not in the sessions that compare the others"
    base = find_baseline(section)
    if devices := find_devices(section.timings, base.runs, one.runs):
        places = f"{base.name} on {devices[0]}, {one.name} on {devices[1]}"
        return f"the two were measured on different devices, {places}"
    return "the two were never measured in one session whose rounds alternated"


def _say_score(section: Section, one: Candidate) -> str:
    score, kept = one.rows[0].primary, one.retention
    if score is None or kept is None:
        return f"Not known: {say_why_not(section, one)}."
    unresolved = kept.low <= 1 <= kept.high
    verdict = " The two cannot be told apart." if unresolved else ""
    ours, theirs = len(one.runs), len(section.references)
    against = f" against {theirs} of the baseline" if theirs > 1 else ""
    over = f"{ours} seed{'s' * (ours > 1)}{against}, " if ours > 1 or theirs > 1 else ""
    return f"{over}{score.n} examples of {score.split}; paired 95 % interval {format_range(kept, 'share')} %.{verdict}"


def _say_published(section: Section) -> Iterator[tuple[str, str]]:
    """With what the baseline may be compared, where anything of its kind was published."""
    published, base = section.published, find_baseline(section)
    if published and base.score:
        whose = published.model + ("" if published.same else ", other weights of the same shape,")
        yield (
            "Published",
            f"{whose} {format_score(published.score)} on these examples ({published.source}); "
            f"{base.name} here {format_score(base.score.value)} ({format_range(base.score, 'score')}).",
        )


def _say_caveats(section: Section, one: Candidate) -> str:
    concerned = [caveat for caveat in section.caveats if concerns(caveat, section, one.runs)]
    if not concerned:
        return "The data raise none against this comparison."
    return f"{len(concerned)} to read before relying on it: those marked below."


def concerns(caveat: Caveat, section: Section, runs: Collection[str]) -> bool:
    """Whether it is about these runs, about the baseline that they are compared with, or about the whole."""
    return not caveat.runs or not {*runs, *section.references}.isdisjoint(caveat.runs)


def mark_caveats(section: Section) -> list[tuple[str, Caveat]]:
    """The caveats, those that concern the headline first; each with the words that say so, or with none."""
    runs = section.headline.runs if section.headline else None
    told = [
        (CONCERNING if runs and concerns(caveat, section, runs) else "", caveat) for caveat in section.caveats
    ]
    return sorted(told, key=lambda each: not each[0])
