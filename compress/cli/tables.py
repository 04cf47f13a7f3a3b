"""Plans, runs, measurements and recipes as people read them, beside what programs get."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.cli.completion import KINDS, METHODS
from compress.errors import UnknownNameError
from compress.recipes.quantization import describe_methods
from compress.recipes.resolve import list_recipes, resolve_student, resolve_teacher, suggest
from compress.recipes.schema import Student, Teacher, describe_source
from compress.recipes.size import BERT_VOCABULARY, count_parameters, megabytes
from compress.runs import Evaluation, Session, StoredRun
from compress.tasks import SUBMISSION_FILES, describe_task, list_tasks

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from compress.steps import Step


def plan_table(step: "Step") -> tuple[list[dict[str, Any]], "Table"]:
    """The steps of a plan: what each makes, from what, and whether it is there already."""
    steps: list[dict[str, Any]] = [
        {
            "run": part.id,
            "stage": part.stage.kind,
            "inputs": [f"{parent.role}: {parent.name} ({parent.origin})" for parent in part.parents],
            "cached": part.finished,
            "estimated_steps": part.optimizer_steps,
            "terms": list(part.details),
            "recipe": part.stage.model_dump(mode="json"),
        }
        for part in step.unfold()
    ]
    table = _table("stage", "from", "terms", "steps at the most", "state", "run")
    for entry in steps:
        state = "cached" if entry["cached"] else "to do"
        known = entry["estimated_steps"] is not None
        table.add_row(
            entry["stage"],
            "\n".join(entry["inputs"]),
            "\n".join(entry["terms"]),
            f"{entry['estimated_steps']:,}" if known else "as many as the epochs or the budget have",
            state,
            entry["run"],
        )
    return steps, table


def run_value(stored: StoredRun) -> dict[str, Any]:
    """A run for programs: its record, its path, its evaluations and measurements."""
    return {
        **stored.run.model_dump(mode="json"),
        "path": str(stored.path),
        "evaluations": [evaluation.model_dump(mode="json") for evaluation in stored.evaluations],
        "measurements": [session.model_dump(mode="json") for session in stored.sessions],
    }


def evaluations_text(evaluations: Sequence[Evaluation], submission: Path | None) -> str:
    """What a model scored on each split, how many texts were cut, and where answers for GLUE's server lie."""
    return "\n".join(line for each in evaluations for line in _evaluation_lines(each, submission))


def _evaluation_lines(evaluation: Evaluation, submission: Path | None) -> Iterator[str]:
    where = f"{evaluation.run}, {evaluation.split}"
    for score in evaluation.scores:
        yield f"{where}: {score.name} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}], n = {score.n}"
    if not evaluation.scores:
        yield f"{where}: answered; there are no labels to score the answers by"
    if evaluation.truncated:
        of = f" of {evaluation.scores[0].n:,}" if evaluation.scores else ""
        longest = evaluation.batches.max_length
        yield f"{where}: {evaluation.truncated:,}{of} texts were cut to {longest} tokens"
    if submission is not None:
        yield f"{where}: for the server: {submission / SUBMISSION_FILES[evaluation.task, evaluation.split]}"


def run_text(stored: StoredRun) -> str:
    """A run for people: where it lies, how big it is, what it scores."""
    run = stored.run
    lines = [
        f"{stored.path}",
        f"  {run.artefact_bytes / 1e6:.2f} MB, {run.parameters:,} parameters, made in {run.seconds:.0f} s",
    ]
    splits = [evaluation.split for evaluation in stored.evaluations]
    for evaluation in stored.evaluations:
        # Where a split's file has changed, both are scored; the fingerprint tells them apart.
        data = f" (data {evaluation.data[:6]})" if splits.count(evaluation.split) > 1 else ""
        for score in evaluation.scores:
            interval = f"[{score.low:.4f}, {score.high:.4f}]"
            lines.append(
                f"  {evaluation.split}{data}: {score.name} {score.value:.4f} {interval}, n = {score.n}"
            )
    return "\n".join(lines)


def measurements_table(records: Sequence[Session]) -> "Group":
    """Measurements, a table a session, a row a model, a line a shape."""
    from rich.console import Group

    sessions = dict.fromkeys(record.session for record in records)
    return Group(*(_session_table([r for r in records if r.session == session]) for session in sessions))


def _session_table(records: Sequence[Session]) -> "Table":
    from compress.noise import describe_noise, find_noise
    from compress.reporting.wording import describe_machine

    first = records[0]
    threads = next((m.conditions["threads"] for m in first.measurements if "threads" in m.conditions), None)
    table = _table("model", "shape", "p50 ms (quartiles)", "p95 ms", "texts/s", "GFLOP", "memory")
    table.title = f"Session {first.session}, {threads} thread(s); {describe_machine(first.environment)}"
    table.caption = "Shape: texts × tokens (task: its own texts). Memory: the most the process held, and what it held before the model; of a GPU the most that was taken."
    if noise := find_noise(records):
        table.caption = f"{table.caption}\n{describe_noise(noise)}"
    table.title_justify = table.caption_justify = "left"
    table.title_style = table.caption_style = ""
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for record in records:
        table.add_row(*("\n".join(lines) for lines in _measured_cells(record)), end_section=True)
    return table


def _measured_cells(record: Session) -> Iterator[list[str]]:
    """The lines of each cell of a model; what its record does not hold, an older one perhaps, is a dash."""
    from compress.reporting.formats import format_bytes, format_significant

    whole = [m for m in record.measurements if not {"part", "file"} & m.conditions.keys()]
    found = {(m.name, m.conditions.get("batch"), m.conditions.get("length")): m for m in whole}
    shapes = [(batch, length) for name, batch, length in found if name == "latency"]

    def lines(name: str, scale: float = 1.0) -> list[str]:
        values = (found.get((name, *shape)) for shape in shapes)
        return [format_significant(m.value * scale) if m else "–" for m in values]

    single = {name: measured.value for (name, batch, _), measured in found.items() if batch is None}
    loaded = f", loaded in {format_significant(single['load_time'], 2)} s" if "load_time" in single else ""
    yield [record.run, f"{record.engine}{loaded}"]
    yield [f"{batch} × {length}" for batch, length in shapes]
    quartiles = (found["latency", *shape] for shape in shapes)
    yield [
        f"{median} ({format_significant(m.low)}–{format_significant(m.high)})"
        for median, m in zip(lines("latency"), quartiles, strict=True)
    ]
    yield lines("latency_p95")
    yield lines("throughput")
    yield lines("flops", 1e-9)
    held = {"peak_memory": "{}", "baseline_memory": "({})", "peak_device_memory": "GPU {}"}
    yield [text.format(format_bytes(single[name])) for name, text in held.items() if name in single]


def list_catalogue(kind: str | None) -> tuple[list[dict[str, Any]], "Group"]:
    """The names that commands take: a table a kind, a line a name.

    Raises:
        UnknownNameError: There is no such kind.
        InvalidInputError: A recipe in reach is not valid.
    """
    from rich.console import Group

    if kind is not None and kind not in KINDS:
        raise UnknownNameError(f"There is no kind {kind!r}.", suggest(kind, KINDS, "kinds"))
    listings = {
        "teachers": _list_teachers,
        "students": _list_students,
        "tasks": _list_tasks,
        "methods": _list_methods,
    }
    entries: list[dict[str, Any]] = []
    tables = []
    for group in KINDS:
        if kind in (None, group):
            found, table = listings[group]()
            entries += found
            tables.append(table)
    return entries, Group(*tables)


def _list_teachers() -> "tuple[list[dict[str, Any]], Table]":
    entries = []
    table = _table("teacher", "", "parameters", "MB", "source", numbers=(2, 3))
    table.caption = "MB are of weights in fp32. A source with a slash is an id on the Hugging Face Hub."
    for name in list_recipes("teachers"):
        teacher = resolve_teacher(name)
        size = _size(teacher, teacher.vocab_size)
        source = describe_source(teacher.source)
        entries.append(
            {"kind": "teacher", "name": name, "description": teacher.description, **size, "source": source}
        )
        table.add_row(name, teacher.description, *_size_cells(size), source)
    return entries, table


def _list_students() -> "tuple[list[dict[str, Any]], Table]":
    entries = []
    table = _table("student", "", "parameters", "MB", "method", numbers=(2, 3))
    table.caption = f"For bert-base's {BERT_VOCABULARY:,} pieces; a student takes its teacher's (compress show NAME --teacher T)."
    for name in list_recipes("students"):
        student = resolve_student(name)
        size = _size(student, BERT_VOCABULARY)
        method = student.distill.method
        entries.append(
            {"kind": "student", "name": name, "description": student.description, **size, "method": method}
        )
        # The count at a description's end has a column of its own here.
        description = re.sub(r"; [\d.]+ M parameters$", "", student.description)
        table.add_row(name, description, *_size_cells(size), method)
    return entries, table


def _list_tasks() -> "tuple[list[dict[str, Any]], Table]":
    tasks = [(task.name, describe_task(task)) for task in list_tasks()]
    return _list_names("task", tasks)


def _list_methods() -> "tuple[list[dict[str, Any]], Table]":
    stages = {**METHODS, "quantize": describe_methods()}
    methods = [
        (name, f"{stage}: {text}") for stage, methods in stages.items() for name, text in methods.items()
    ]
    return _list_names("method", methods)


def _list_names(kind: str, named: Sequence[tuple[str, str]]) -> "tuple[list[dict[str, Any]], Table]":
    table = _table(kind, "")
    for name, description in named:
        table.add_row(name, description)
    return [{"kind": kind, "name": name, "description": text} for name, text in named], table


def _size(recipe: Teacher | Student, vocab_size: int) -> dict[str, Any]:
    size = count_parameters(recipe.architecture, recipe.family, vocab_size=vocab_size)
    return {"parameters": size, "megabytes": megabytes(size), "vocab_size": vocab_size}


def _size_cells(size: dict[str, Any]) -> tuple[str, str]:
    return f"{size['parameters'] / 1e6:,.1f} M", f"{size['megabytes']:,.1f}"


def _table(*columns: str, numbers: Collection[int] = ()) -> "Table":
    """An empty table; the columns at the places `numbers` are aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if place in numbers else "left")
    return table
