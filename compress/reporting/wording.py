"""How names and what was measured are worded: the same in the page, the README, the terminal and the card."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from compress.environment import Environment
from compress.reporting.formats import format_range, format_score
from compress.reporting.schema import (
    Condition,
    Fidelity,
    Overview,
    Report,
    Section,
    Timed,
    TimingColumn,
)
from compress.tasks import GLUE_TITLES

SEVERAL_SEEDS = "Of several seeds the mean; its interval is over seeds and examples."

FEWEST_SESSIONS = 3
"""Of fewer a range is no interval: another session is as likely to lie beyond it as within, or likelier."""
_ONE_SESSION = "say nothing of how sessions differ"
_TWO_SESSIONS = "hardly tells the noise"
_ENGINES = {
    "pytorch": "PyTorch",
    "pytorch-bf16": "PyTorch (bfloat16)",
    "quanto": "PyTorch (quanto)",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
_METRICS = {
    "f1": "F1",
    "macro_f1": "macro F1",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}
PROFILED = "Milliseconds are profiled part by part, which itself costs time: read the shares, not the sum, which may exceed the latency."
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ABSOLUTE_PATH = re.compile(
    r"""
    (?P<quote>['"]) (?P<quoted>/[^'"]+) (?P=quote)                  # a quoted path may hold spaces
    | (?:file://|(?<![\w.\-/~…])) (?P<plain>/(?!/)[^\s'",;:()<>]+)  # no URL's, no relative path's
    | (?<!\w) (?P<windows>[A-Za-z]:\\[^\s'",;()<>]+)
    """,
    re.VERBOSE,
)


def show(text: str) -> str:
    """Text from outside as a reader may see it: no hidden or reordering characters, no machine's paths."""
    return reveal(shorten_paths(text))


def reveal(text: str) -> str:
    """Words from outside, which are no machine's paths even where they look like one (/sport/football): no hidden characters."""
    return "".join(map(_reveal, text))


def _reveal(character: str) -> str:
    if character in _BIDI or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
        return f"\\u{ord(character):04x}"
    return character


def shorten_paths(text: str) -> str:
    """Keep the last two components of every absolute path in a text."""
    return _ABSOLUTE_PATH.sub(_shorten, text)


def _shorten(match: re.Match[str]) -> str:
    path = match["quoted"] or match["plain"] or match["windows"].replace("\\", "/")
    parts = PurePosixPath(path).parts[1:]
    kept = "…/" + "/".join(parts[-2:] if len(parts) > 2 else parts[-1:])
    return f"{match['quote']}{kept}{match['quote']}" if match["quote"] else kept


def format_condition(condition: Condition) -> str:
    """A measuring condition in words: batch 1, 128 tokens, 1 thread, cpu."""
    plural = "" if condition.threads == 1 else "s"
    parts = (
        None if condition.batch is None else f"batch {condition.batch}",
        _format_length(condition),
        None if condition.threads is None else f"{condition.threads} thread{plural}",
        condition.device,
    )
    return ", ".join(part for part in parts if part) or "condition not recorded"


def strip_texts(condition: Condition) -> Condition:
    """A condition without whose texts were read: what several tasks have in common, each measured at its own lengths."""
    return condition.model_copy(update=dict.fromkeys(("task", "texts", "fingerprint")))


def name_engine(engine: str) -> str:
    """What its makers call an engine."""
    return _ENGINES.get(engine, engine)


def name_runtime(engine: str) -> str:
    """The engine's name without what it computes in or with."""
    return name_engine(engine).partition(" (")[0]


def describe_engines(timed: Sequence[tuple[str, str]]) -> str:
    """In which engines models were timed: in PyTorch, but a and b in ONNX Runtime.

    Args:
        timed: A model's name and its engine, first of the one that the others are compared with.
    """
    models: dict[str, list[str]] = {}
    for name, engine in dict.fromkeys(timed):
        models.setdefault(name_engine(engine), []).append(name)
    first, *others = models
    told = "; ".join(f"{join_names(models[engine])} in {engine}" for engine in others)
    return f"in {first}, but {told}" if told else f"in {first}"


def describe_two_engines(one: tuple[str, str], other: tuple[str, str]) -> str:
    """The same of two models: a in PyTorch, b in ONNX Runtime; or both in PyTorch."""
    engines = [name_engine(engine) for _, engine in (one, other)]
    if engines[0] == engines[1]:
        return f"both in {engines[0]}"
    return f"{one[0]} in {engines[0]}, {other[0]} in {engines[1]}"


def describe_spread(column: TimingColumn) -> str:
    """What the latencies of a column are, and their brackets."""
    if column.spread == "rounds":
        told = f"one session of {column.rounds} alternating rounds, in brackets the quartiles over rounds"
        return f"{told}, which {_ONE_SESSION}"
    count = len(column.sessions)
    if count < FEWEST_SESSIONS:
        return f"median of {count} sessions, in brackets the range of the two, which {_TWO_SESSIONS}"
    return f"median of {count} sessions, in brackets the range over sessions"


def describe_sessions(times: Timed, bounds: str) -> str:
    """The sessions in which times were taken, and the bounds of what was found in them."""
    if times.spread == "rounds":
        told = f"One session of {times.rounds} alternating rounds; quartiles over rounds {bounds}"
        return f"{told}, which {_ONE_SESSION}."
    count = len(times.sessions)
    told = f"{count} sessions of alternating rounds; range over sessions {bounds}"
    return f"{told}, which {_TWO_SESSIONS}." if count < FEWEST_SESSIONS else f"{told}."


def _format_length(condition: Condition) -> str | None:
    if condition.length == "task":
        own = f"{condition.task or 'the task'}'s own lengths"
        return own if condition.texts is None else f"{own} ({condition.texts} texts)"
    return None if condition.length is None else f"{condition.length} tokens"


def describe_machine(environment: Environment) -> str:
    """The hardware a number was made on."""
    memory = f"{environment.memory_bytes / 2**30:.0f} GiB"
    gpu = f" + {environment.gpu}" if environment.gpu else ""
    return f"{environment.cpu}{gpu}, {environment.cpu_count} CPUs, {memory}, {environment.system}"


def describe_versions(environment: Environment) -> str:
    """The software a number was made with."""
    versions = ", ".join(f"{package} {version}" for package, version in sorted(environment.versions.items()))
    return f"Python {environment.python}, {versions}" if versions else f"Python {environment.python}"


def name_quantity(name: str) -> str:
    """What a reader calls a quantity of the training log: eval_next_sentence_accuracy → hold-out: next sentence, accuracy."""
    if not name.startswith("eval_"):
        return "training loss" if name == "loss" else name.replace("_", " ")
    term, measure = name.removeprefix("eval_"), "loss"
    for other in ("accuracy", "recall", "score", "share"):
        if term.endswith(f"_{other}"):
            term, measure = term.removesuffix(f"_{other}"), other
    words = "hidden words" if term == "masked_lm" else term.replace("_", " ")
    return f"hold-out: {words}" + ("" if term in ("loss", "score") else f", {measure}")


def join_names(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def describe_agreement(found: Fidelity, *, base: bool) -> str:
    """A model's agreement with the baseline, which itself has none."""
    if found.agreement is None:
        return "baseline" if base else "not compared"
    return f"{format_score(found.agreement.value)} ({format_range(found.agreement, 'score')})"


def explain_fidelity(baseline: str, section: Section) -> str:
    """What the columns of a section's table about the baseline's stand-ins mean, and who would agree without reading."""
    if section.find(section.baseline).run.answered_task.kind == "regression":
        return f"Agreement: Pearson correlation with the answers of {baseline}, 95 % interval."
    constant = section.constant_agreement
    without = "" if constant is None else f"; always its most frequent answer: {format_score(constant)}"
    return (
        f"Agreement: share of examples answered as {baseline} answers them, right or wrong, 95 % interval{without}. "
        "Calibration error: mean distance between confidence and accuracy over 15 bins of confidence; 0 is a model that is as "
        "often right as it is sure, and few examples make any model look worse than it is."
    )


def say_constant(score: float) -> str:
    """What a score is to be measured against besides the baseline's."""
    return f"The best constant answer scores {format_score(score)}."


def name_metric(metric: str) -> str:
    """What papers call a metric: matthews_correlation → Matthews correlation."""
    return _METRICS.get(metric, metric.replace("_", " "))


def name_task(task: str) -> str:
    """What papers call a task of GLUE; another goes by its own name."""
    return GLUE_TITLES.get(task, task)


def _explain_speed(report: Report, overview: Overview) -> str:
    columns = [section.timing for section in report.sections if section.task in overview.timed]
    if len(columns) == 1 and columns[0]:
        where = f"{name_task(overview.timed[0])} ({format_condition(columns[0].condition)})"
        return f"on {where}, {describe_spread(columns[0])}"
    return "that of the tasks' own sessions, in brackets the least and the most"


def _list_engines(report: Report, overview: Overview) -> Iterator[tuple[str, str]]:
    """A model's name and its engine, of each of its timings that the overview tells."""
    columns = [section.timing for section in report.sections if section.task in overview.timed]
    for row in overview.rows:
        timings = [column.find(run) for column in columns if column for run in row.runs]
        yield from ((row.name, timing.engine) for timing in timings if timing)


def explain_overview(report: Report, overview: Overview) -> str:
    """What the overview's numbers are, and which tasks of the report are no part of the mean, and why."""
    tasks = join_names([name_task(task) for task in overview.tasks])
    text = (
        f"Mean: of {tasks}; the score of a task is the mean of its metrics and of its splits. In brackets 95 % intervals over "
        "seeds and examples; the share of the baseline's mean that is kept is paired."
    )
    text += " Size: of a model's largest file; times smaller: the geometric mean over the tasks."
    if any(row.faster for row in overview.rows):
        text += f" Times as fast: {_explain_speed(report, overview)}."
        if engines := list(_list_engines(report, overview)):
            text += f" Timed {describe_engines(engines)}."
    if any(section.outside_mean for section in report.sections):
        text += (
            " WNLI is left out, as in Devlin et al. (2019): its validation split contradicts its train split, so that models "
            "score below a constant answer."
        )
    unknown = [
        name_task(section.task)
        for section in report.sections
        if section.knows_nothing and not section.outside_mean
    ]
    if unknown:
        are = "are" if len(unknown) > 1 else "is"
        text += (
            f" {join_names(unknown)} {are} left out: the baseline knows no more there than a constant answer."
        )
    return text
