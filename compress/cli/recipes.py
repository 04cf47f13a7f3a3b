"""One recipe in full, as TOML with every default filled in, beside what programs get."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compress.cli.sizes import describe_size, tabulate_sizes
from compress.cli.validation import Kind, tell_kind
from compress.errors import InvalidInputError, UnknownNameError
from compress.recipes.methods import Distillation
from compress.recipes.resolve import find_recipe, list_recipes, resolve_student, resolve_teacher, suggest
from compress.recipes.schema import Student, Teacher
from compress.recipes.size import BERT_VOCABULARY
from compress.tasks import Task, describe_task, list_tasks, resolve_task

Entry = dict[str, Any]


def show_recipes(name: str, *, teacher: str | None = None) -> tuple[list[Entry], str]:
    """Everything that a name stands for: it may be a teacher's and a student's at once.

    Args:
        name: Of a teacher, a student or a task, or the path of its file.
        teacher: Whose vocabulary a student takes, and beside whose size its own is put; by default it has as many
            pieces as bert-base.

    Returns:
        An entry a recipe, and all of them as text.

    Raises:
        UnknownNameError: The name stands for nothing.
        InvalidInputError: A file is no valid recipe, or a teacher was named for what is no student.
    """
    kinds = _kinds_of(name)
    if teacher is not None and "student" not in kinds:
        raise InvalidInputError(
            f"{name!r} is no student, so it takes no teacher's vocabulary.", "Leave out --teacher."
        )
    entries = []
    for kind in kinds:
        match kind:
            case "teacher":
                entries.append(_teacher_entry(resolve_teacher(name), find_recipe("teachers", name)))
            case "student":
                student = resolve_student(name)
                entries.append(_student_entry(student, find_recipe("students", name), teacher=teacher))
            case "task":
                entries.append(_task_entry(resolve_task(name), Path(name) if _is_path(name) else None))
    return entries, "\n\n".join(map(_text, entries))


def to_toml(fields: Mapping[str, Any], *, table: str = "") -> Iterator[str]:
    """Lines of TOML; what is left open becomes a comment, since TOML has no word for it."""
    for name, value in fields.items():
        if value is None:
            yield f"# {name} is left open"
        elif not isinstance(value, Mapping):
            yield f"{name} = {_inline(value)}"
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield f"\n[{table}{name}]"
            yield from to_toml(value, table=f"{table}{name}.")


def _inline(value: Any) -> str:
    """A value on one line; a table in a list is an inline one, without what is left open."""
    if isinstance(value, Mapping):
        fields = (f"{name} = {_inline(part)}" for name, part in value.items() if part is not None)
        return f"{{ {', '.join(fields)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _kinds_of(name: str) -> list[Kind]:
    if _is_path(name):
        return [tell_kind(Path(name))]
    tasks = [task.name for task in list_tasks()]
    known: dict[Kind, list[str]] = {
        "teacher": list(list_recipes("teachers")),
        "student": list(list_recipes("students")),
        "task": tasks,
    }
    kinds = [kind for kind, names in known.items() if name in names]
    if not kinds:
        every = sorted({name for names in known.values() for name in names})
        raise UnknownNameError(
            f"There is no teacher, student or task {name!r}.", suggest(name, every, "names")
        )
    return kinds


def _is_path(name: str) -> bool:
    return name.endswith(".toml") or "/" in name


def _teacher_entry(teacher: Teacher, file: Path) -> Entry:
    return {
        "kind": "teacher",
        "name": teacher.name,
        "file": str(file),
        "vocabulary": "its own",
        **describe_size(teacher, vocab_size=teacher.vocab_size),
        "recipe": teacher.model_dump(mode="json", exclude={"name"}),
    }


def _student_entry(student: Student, file: Path, *, teacher: str | None) -> Entry:
    owner = resolve_teacher(teacher) if teacher is not None else None
    pieces = owner.vocab_size if owner else BERT_VOCABULARY
    return {
        "kind": "student",
        "name": student.name,
        "file": str(file),
        "vocabulary": f"{owner.name if owner else 'bert-base'}'s",
        **describe_size(student, vocab_size=pieces),
        "teacher": {"name": owner.name, **describe_size(owner, vocab_size=pieces)} if owner else None,
        "recipe": {
            **student.model_dump(mode="json", exclude={"name"}),
            "distill": student.distill.model_dump(mode="json"),
        },
    }


def _task_entry(task: Task, file: Path | None) -> Entry:
    return {
        "kind": "task",
        "name": task.name,
        "file": str(file) if file else None,
        "description": describe_task(task),
        "recipe": task.model_dump(mode="json", exclude={"name"}),
    }


def _text(entry: Entry) -> str:
    """The recipe under a heading of comments; a teacher's or student's can be saved as a file of one's own."""
    heading = [f"{entry['kind']} {entry['name']}", f"file: {entry['file'] or 'none, it is built in'}"]
    if "parameters" in entry:
        heading += [
            f"{entry['parameters']:,} parameters, {entry['megabytes']:.2f} MB in fp32",
            f"with {entry['vocabulary']} {entry['vocab_size']:,} pieces and a classifier for 2 labels",
            "",
            *tabulate_sizes(_columns(entry)),
        ]
    else:
        heading.append(entry["description"])
    recipe = entry["recipe"]
    if entry["kind"] == "student":
        recipe = {**recipe, "distill": _shorten(recipe["distill"])}
        heading += ["", "methods and budgets that are not shown have their usual numbers: --json shows all"]
    return "\n".join([*(f"# {line}".rstrip() for line in heading), "", *to_toml(recipe)])


def _shorten(distill: Entry) -> Entry:
    """The method and budget that are meant, and what else is not as usual."""
    usual = Distillation().model_dump(mode="json")
    chosen = distill["method"], distill["budget"]
    short = {name: distill[name] for name in ("method", "corpus", "budget")}
    if distill["method"] == "logits" or distill["logits"] != usual["logits"]:
        short["logits"] = distill["logits"]
    for method in ("tinybert", "minilm", "triple"):
        budgets = {
            budget: stages
            for budget, stages in distill[method].items()
            if (method, budget) == chosen or stages != usual[method][budget]
        }
        if budgets:
            short[method] = budgets
    return short


def _columns(entry: Entry) -> dict[str, Entry]:
    """The recipe's own size, and the named teacher's beside it."""
    teacher = entry.get("teacher")
    return {entry["name"]: entry} | ({f"teacher {teacher['name']}": teacher} if teacher else {})
