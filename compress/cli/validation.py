"""Files of teachers, students and tasks: which of them a file is, and whether it is right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.recipes.resolve import read_fields, resolve_student, resolve_teacher
from compress.recipes.schema import LocalSource, Student, Teacher
from compress.recipes.size import BERT_VOCABULARY, count_parameters, megabytes
from compress.tasks import FilesSource, Task, resolve_task

Kind = Literal["teacher", "student", "task"]

FOLDERS: dict[str, Kind] = {"teachers": "teacher", "students": "student"}
TASK_FIELDS = {"kind", "text", "label", "labels", "metrics", "train", "validation"}
TEACHER_FIELDS = {"source", "vocab_size"}
STUDENT_FIELDS = {"initialize", "distill", "architecture", "family"}


def validate_files(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Validate each file.

    Returns:
        For each its path, its kind, its name, and a line about it.

    Raises:
        InvalidInputError: Some are wrong; the message tells every mistake of every file.
    """
    entries, mistakes = [], []
    for file in files:
        try:
            entries.append(_validate_file(file))
        except CompressError as error:
            mistakes.append(error.problem)
    if mistakes:
        count = f"{len(mistakes)} of {len(files)} files" if len(files) > 1 else "The file"
        raise InvalidInputError("\n".join(mistakes), f"{count} did not pass: mend what is named above.")
    return entries


def tell_kind(path: Path) -> Kind:
    """What a file describes: told by its folder, since that decides how it is found, else by its fields.

    Raises:
        UnknownNameError: There is no such file.
        InvalidInputError: It is no TOML, or has no field of any kind.
    """
    if not path.is_file():
        raise UnknownNameError(f"There is no file {path}.", "Check the path.")
    folder = path.resolve().parent.name
    if folder in FOLDERS:
        return FOLDERS[folder]
    fields = read_fields(path).keys()
    if fields & TEACHER_FIELDS:
        return "teacher"
    if fields & STUDENT_FIELDS:
        return "student"
    if fields & TASK_FIELDS:
        return "task"
    raise InvalidInputError(
        f"{path} is neither a teacher ({', '.join(sorted(TEACHER_FIELDS))}), nor a student "
        f"({', '.join(sorted(STUDENT_FIELDS))}), nor a task ({', '.join(sorted(TASK_FIELDS))}): "
        f"it has {', '.join(fields) or 'no fields'}.",
        "Mend its fields, or put it in a folder teachers/ or students/.",
    )


def _validate_file(path: Path) -> dict[str, Any]:
    kind = tell_kind(path)
    match kind:
        case "teacher":
            summary = _summarize_teacher(resolve_teacher(str(path)), path)
        case "student":
            summary = _summarize_model(resolve_student(str(path)), BERT_VOCABULARY)
        case "task":
            summary = _summarize_task(resolve_task(str(path)), path)
    return {"file": str(path), "kind": kind, "name": path.stem, "summary": summary}


def _summarize_teacher(teacher: Teacher, path: Path) -> str:
    source = teacher.source
    if isinstance(source, LocalSource) and not (Path(source.path) / "config.json").is_file():
        raise InvalidInputError(
            f"{path} is no valid teacher:\n  source.path: {source.path} holds no config.json",
            "Name a directory in Hugging Face format, relative to the file.",
        )
    return _summarize_model(teacher, teacher.vocab_size)


def _summarize_model(recipe: Teacher | Student, vocab_size: int) -> str:
    size = count_parameters(recipe.architecture, recipe.family, vocab_size=vocab_size)
    return f"{size:,} parameters with {vocab_size:,} pieces, {megabytes(size):.2f} MB in fp32"


def _summarize_task(task: Task, path: Path) -> str:
    """Read each split by itself, so that what is wrong with one does not hide what is wrong with the next."""
    from compress.data.task_data import Split, examine_splits

    if not isinstance(task.source, FilesSource):
        raise InvalidInputError(f"{path} names no data files.", "Give it `train` and `validation`.")
    task, splits = examine_splits(task)
    mistakes = [
        f"  {error.problem} {error.fix}"
        for found in splits.values()
        if not isinstance(found, Split)
        for error in found
    ]
    if mistakes:
        problem = "\n".join([f"{path} is a valid task, but its data are wrong:", *mistakes])
        raise InvalidInputError(problem, "Mend the data, or the columns and labels that the file names.")
    counts = [f"{len(found):,} rows of {name}" for name, found in splits.items() if isinstance(found, Split)]
    named = f"labels {', '.join(task.labels)}" if task.labels else "numbers"
    return f"{', '.join(counts)}; {named}"
