"""Plans, runs, measurements and recipes as people read them, beside what programs get."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.errors import UnknownNameError
from compress.runs import Session, StoredRun

if TYPE_CHECKING:
    from rich.table import Table

    from compress.planning import Step

KINDS = ("teachers", "students", "tasks", "methods")
METHODS = {
    "logits": "distill: soft labels (Hinton et al. 2015)",
    "dynamic-int8": "quantize: ONNX Runtime, 8-bit",
}


def plan_table(step: "Step") -> tuple[list[dict[str, Any]], "Table"]:
    """The steps of a plan: what each makes, from what, and whether it is there already."""
    steps: list[dict[str, Any]] = [
        {
            "run": part.id,
            "stage": part.stage.kind,
            "inputs": [f"{parent.role}: {parent.name} ({parent.origin})" for parent in part.parents],
            "cached": part.finished,
            "estimated_steps": part.optimizer_steps,
            "recipe": part.stage.model_dump(mode="json"),
        }
        for part in step.unfold()
    ]
    table = _table("stage", "from", "steps at the most", "state", "run")
    for entry in steps:
        state = "cached" if entry["cached"] else "to do"
        table.add_row(
            entry["stage"], "\n".join(entry["inputs"]), f"{entry['estimated_steps']:,}", state, entry["run"]
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


def run_text(stored: StoredRun) -> str:
    """A run for people: where it lies, how big it is, what it scores."""
    run = stored.run
    lines = [
        f"{stored.path}",
        f"  {run.artefact_bytes / 1e6:.2f} MB, {run.parameters:,} parameters, made in {run.seconds:.0f} s",
    ]
    for evaluation in stored.evaluations:
        for score in evaluation.scores:
            interval = f"[{score.low:.4f}, {score.high:.4f}]"
            lines.append(f"  {evaluation.split}: {score.name} {score.value:.4f} {interval}, n = {score.n}")
    return "\n".join(lines)


def measurements_table(records: Sequence[Session]) -> "Table":
    """Latencies, a row a model and shape, sessions one after the other."""
    table = _table(
        "session", "model", "engine", "batch × length", "threads", "median ms", "quartiles", "load s"
    )
    for record in records:
        load_time = next((m.value for m in record.measurements if m.name == "load_time"), float("nan"))
        for measured in record.measurements:
            if measured.name == "latency":
                shape = f"{measured.conditions['batch']} × {measured.conditions['length']}"
                quartiles = f"{measured.low:.2f} to {measured.high:.2f}"
                threads = str(measured.conditions["threads"])
                table.add_row(
                    record.session,
                    record.run,
                    record.engine,
                    shape,
                    threads,
                    f"{measured.value:.2f}",
                    quartiles,
                    f"{load_time:.1f}",
                )
    return table


def list_catalogue(kind: str | None) -> tuple[list[dict[str, str]], "Table"]:
    """The names that commands take, with a line about each.

    Raises:
        UnknownNameError: There is no such kind.
    """
    from compress.recipes.resolve import list_recipes, resolve_student, resolve_teacher, suggest
    from compress.tasks import list_tasks

    if kind is not None and kind not in KINDS:
        raise UnknownNameError(f"There is no kind {kind!r}.", suggest(kind, KINDS, "kinds"))
    sources = {
        "teachers": lambda: [(name, resolve_teacher(name).description) for name in list_recipes("teachers")],
        "students": lambda: [(name, resolve_student(name).description) for name in list_recipes("students")],
        "tasks": lambda: [(task.name, f"{task.kind}; {', '.join(task.metrics)}") for task in list_tasks()],
        "methods": lambda: list(METHODS.items()),
    }
    entries = [
        {"kind": group[:-1], "name": name, "description": text}
        for group in KINDS
        if kind in (None, group)
        for name, text in sources[group]()
    ]
    table = _table("kind", "name", "")
    for entry in entries:
        table.add_row(*entry.values())
    return entries, table


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
