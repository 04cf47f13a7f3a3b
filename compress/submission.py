"""GLUE's server: which splits it asks about, what its files are called, and how answers are written in them."""

from collections.abc import Sequence
from pathlib import Path

from compress.data.checking import Labels
from compress.errors import InvalidInputError
from compress.runs import write_atomically
from compress.tasks import GLUE_TITLES, SUBMISSION_FILES, GlueSource, Task

NAMED = frozenset({"mnli", "qnli", "rte", "ax"})
"""Tasks whose labels the server takes by name; of the others it takes the numbers of the classes."""
LOWEST, HIGHEST = 0.0, 5.0
"""Of STS-B's similarities."""


def ask_server(task: Task, directory: Path) -> Task:
    """The task with the splits that the server scores in place of those that are scored here.

    Args:
        task: One of GLUE's.
        directory: Where its files will lie; nothing in it is overwritten.

    Raises:
        InvalidInputError: The server does not know the task, or a file is there already.
    """
    splits = [split for name, split in SUBMISSION_FILES if name == task.name]
    if not isinstance(task.source, GlueSource) or not splits:
        raise InvalidInputError(
            f"GLUE's server does not know the task {task.name!r}.", f"It takes {', '.join(GLUE_TITLES)}."
        )
    there = [path for split in splits if (path := directory / SUBMISSION_FILES[task.name, split]).exists()]
    if there or (directory.exists() and not directory.is_dir()):
        raise InvalidInputError(
            f"{(there or [directory])[0]} is there already, and nothing is overwritten.",
            "Name another directory with --submission, or remove it.",
        )
    return task.model_copy(update={"validation": tuple(splits)})


def write_submission(task: Task, split: str, predictions: Labels, directory: Path) -> Path:
    """Write a split's answers as the server takes them: a row an example, in the split's order.

    Args:
        task: One of GLUE's.
        split: One of those that `ask_server` gives it.
        predictions: Classes in the task's order of labels, or numbers, `[N]`.
        directory: Made where it is not there.

    Returns:
        The file.
    """
    lines = [f"{index}\t{answer}" for index, answer in enumerate(_write_answers(task, predictions))]
    path = directory / SUBMISSION_FILES[task.name, split]
    write_atomically(path, "\n".join(["index\tprediction", *lines]) + "\n")
    return path


def _write_answers(task: Task, predictions: Labels) -> Sequence[str]:
    if task.labels is None:
        return [f"{min(max(float(value), LOWEST), HIGHEST):.3f}" for value in predictions]
    labels = task.labels if task.name in NAMED else tuple(map(str, range(len(task.labels))))
    return [labels[int(answer)] for answer in predictions]
