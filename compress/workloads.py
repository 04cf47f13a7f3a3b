"""What models are timed on: batches of random tokens of one length, or of a task's own texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compress.data.checking import UNLABELLED
from compress.data.task_data import Split, load_validation
from compress.errors import CompressError, InvalidInputError
from compress.tasks import Task
from compress.workers import RandomTokens, TextBatches

MOST_BATCHES = 64
SEED = 0
"""Of the sample of batches: the same for every model and session."""
OWN: Literal["task"] = "task"


@dataclass(frozen=True)
class Shape:
    """A batch: `batch` texts of `length` tokens; of the task's own texts, as long as they are, where it is `task`."""

    batch: int
    length: int | Literal["task"]

    def __str__(self) -> str:
        return f"{self.batch} × {self.length}"


DEFAULT_SHAPES = (Shape(1, 128), Shape(32, 128))


def read_shape(text: str) -> Shape:
    """A shape as one types it: `32x128` is 32 texts of 128 tokens, `1xtask` one of the task's texts at a time.

    Raises:
        InvalidInputError: It is not of that form.
    """
    batch, _, length = text.partition("x")
    if batch.isdecimal() and int(batch) > 0:
        if length == OWN:
            return Shape(int(batch), OWN)
        if length.isdecimal() and int(length) > 0:
            return Shape(int(batch), int(length))
    raise InvalidInputError(
        f"{text!r} is no shape.", "Write BATCHxLENGTH, such as --shape 32x128, or --shape 1xtask."
    )


@dataclass(frozen=True)
class TaskTexts:
    """The validation texts of a task that models are timed on."""

    task: str
    split: Split

    def sample(self, batch: int) -> Split:
        """At most `MOST_BATCHES` whole batches of the split, drawn without regard to what is in them.

        A batch is texts that follow one another, as requests arrive at a server: it answers those that wait, and does
        not sort a day's texts by length first, as an evaluation does. So batches are the same whatever the tokenizer.

        Raises:
            CompressError: There are fewer texts than make a batch.
        """
        whole = len(self.split) // batch
        if not whole:
            raise CompressError(
                f"{self.split.name} of {self.task} has {len(self.split)} texts, which make no batch of {batch}.",
                f"Choose a smaller batch: at most --shape {len(self.split)}xtask.",
            )
        drawn = np.random.default_rng(SEED).permutation(whole)[:MOST_BATCHES]
        rows = [row for number in sorted(drawn) for row in range(number * batch, (number + 1) * batch)]
        return self.split.select(rows, name=self.split.name)


def read_texts(task: Task) -> TaskTexts:
    """The texts of the first validation split of a task that has labels; of the first one where none has.

    Raises:
        CompressError: They cannot be read.
    """
    task, splits = load_validation(task)
    labelled = (split for split in splits if task.kind == "regression" or (split.labels != UNLABELLED).any())
    return TaskTexts(task.name, next(labelled, splits[0]))


def require_texts(shapes: Sequence[Shape], texts: TaskTexts | None) -> None:
    """Refuse shapes of a task's own texts where there are none, or too few.

    Raises:
        CompressError: It is so.
    """
    for shape in shapes:
        if shape.length == OWN:
            if texts is None:
                raise InvalidInputError(
                    f"The shape {shape} needs a task's texts.", "Name the task, or a length in tokens."
                )
            texts.sample(shape.batch)


def work_of(shape: Shape, texts: TaskTexts | None) -> RandomTokens | TextBatches:
    """What a worker is given to do."""
    if isinstance(shape.length, int):
        return RandomTokens(shape.batch, shape.length)
    if texts is None:
        raise InvalidInputError(f"The shape {shape} needs a task's texts.", "Name the task.")
    chosen: list[str | tuple[str, str]] = list(texts.sample(shape.batch).texts)
    batches = [tuple(chosen[i : i + shape.batch]) for i in range(0, len(chosen), shape.batch)]
    return TextBatches(tuple(batches))
