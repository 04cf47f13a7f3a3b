"""The answer in ten seconds: how much smaller and faster, how much of the score is left, how sure."""

from compress.reporting.schema import Headline, Row, Section, TimingColumn
from compress.reporting.wording import format_change, format_condition, format_range, format_share

WORTHWHILE = 0.95
"""The headline is about the smallest model that keeps so much of the baseline's score ..."""
AS_GOOD = 0.02
"""... or, where none does, about the smallest that keeps as much as the best one but for this share."""


def find_headline(section: Section) -> Headline | None:
    """The headline of a section, None where nothing can be compared with the baseline."""
    chosen = _choose_row(section)
    if chosen is None:
        return None
    row, reason = chosen
    return Headline(
        run=row.run.id,
        reason=reason,
        sentence=_word_sentence(section, row),
        certainty=(
            ("Size", "Bytes on disk of weights and graph, the tokenizer apart: exact."),
            ("Speed", _say_speed(section, row)),
            ("Score", _say_score(row)),
            ("Caveats", _say_caveats(section, row)),
        ),
    )


def _retention(row: Row) -> float | None:
    return row.primary.retention.value if row.primary and row.primary.retention else None


def _choose_row(section: Section) -> tuple[Row, str] | None:
    others = [row for row in section.rows if row.run.id != section.baseline]
    kept = [(row, share) for row in others if (share := _retention(row)) is not None]
    best = max((share for _, share in kept), default=0.0)
    good = [row for row, share in kept if share >= min(WORTHWHILE, best - AS_GOOD)]
    if good:
        bar = f"{100 * WORTHWHILE:.0f} % of the score"
        reason = f"The smallest model here that keeps at least {bar}."
        if best < WORTHWHILE:
            near = f"{100 * AS_GOOD:.0f} points"
            reason = (
                f"No model here keeps {bar}; this is the smallest within {near} of the one that keeps most."
            )
        return min(good, key=lambda row: (row.bytes, row.run.id)), reason
    if others:
        smallest = min(others, key=lambda row: (row.bytes, row.run.id))
        return smallest, "The smallest model here; its score is not compared."
    return None


def _word_sentence(section: Section, row: Row) -> str:
    baseline = section.find(section.baseline).short
    timing = section.timing.find(row.run.id) if section.timing else None
    share = _retention(row)
    parts = [format_change(row.smaller, "smaller", "larger")]
    if timing and timing.speedup:
        parts.append(format_change(timing.speedup.value, "faster", "slower"))
    compared = f"{row.short} is {' and '.join(parts)} than {baseline}"
    speed = "" if timing and timing.speedup else " (their speed was not compared)"
    metric = section.metric.replace("_", " ")
    if share is None:
        return f"{compared}{speed}; its {metric} is not compared."
    return f"{compared}{speed} and keeps {format_share(share)} of its {metric}."


def _say_speed(section: Section, row: Row) -> str:
    column = section.timing
    timing = column.find(row.run.id) if column else None
    if column is None or timing is None or timing.speedup is None:
        return "Not known: the two were never measured in one session whose rounds alternated."
    bounds = format_range(timing.speedup, "ratio")
    return f"{_say_sessions(column, bounds)} At {format_condition(column.condition)}, on {column.machine}."


def _say_sessions(column: TimingColumn, bounds: str) -> str:
    if column.spread == "sessions":
        return f"{len(column.sessions)} sessions of alternating rounds; range over sessions {bounds}×."
    return f"One session of {column.rounds} alternating rounds; quartiles over rounds {bounds}×."


def _say_score(row: Row) -> str:
    score = row.primary
    if score is None or score.retention is None:
        return "Not known: the two were not scored on the same examples, or the baseline scores nothing."
    bounds = format_range(score.retention, "share")
    unresolved = score.retention.low <= 1 <= score.retention.high
    verdict = " The two cannot be told apart." if unresolved else ""
    return f"{score.n} examples of {score.split}; paired 95 % interval {bounds} %.{verdict}"


def _say_caveats(section: Section, row: Row) -> str:
    concerned = [c for c in section.caveats if not c.runs or {row.run.id, section.baseline} & set(c.runs)]
    if not concerned:
        return "The data raise none against this comparison."
    return f"{len(concerned)} to read before relying on it (below)."
