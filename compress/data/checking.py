"""A table's texts and labels, checked: the first mistake of a kind is named by row and column, the others counted."""

import difflib
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.tables import Table, complain
from compress.errors import InvalidInputError
from compress.labels import find_unscorable, fold_labels, name_label
from compress.tasks import Task

logger = logging.getLogger(__name__)

UNLABELLED = -1

Texts = list[str] | list[tuple[str, str]]
Labels = NDArray[np.int64] | NDArray[np.float64]
"""Class indices or targets, `[N]`."""

ROWS_FOR_A_DOUBT = 20
"""From so many rows on, a label column in which no value occurs twice is taken for the wrong column."""


def require_columns(task: Task, table: Table) -> None:
    """Refuse a table without rows, or without a column that the task reads.

    Raises:
        InvalidInputError: It is such a table.
    """
    if not len(table):
        raise InvalidInputError(
            f"{table.where} has no rows{', only a header' if table.columns else ''}.",
            "Bring at least one example, two for training.",
        )
    missing = [column for column in (*task.text, task.label) if column not in table.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], table.columns, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InvalidInputError(
            f"{table.where} has no column {', '.join(map(repr, missing))}; "
            f"it has {', '.join(map(repr, table.columns))}.",
            f"{hint}Name the columns in the task file's `text` and `label`.",
        )


def read_texts(task: Task, table: Table) -> Texts:
    """The texts, or pairs of texts, of a table. One side of a pair may be empty (GLUE's QQP has such rows).

    Raises:
        InvalidInputError: A cell holds no text, or a whole row is empty.
    """
    columns = [table.columns[column] for column in task.text]
    for name, cells in zip(task.text, columns, strict=True):
        _require_text(table, name, cells)
    blank = [row for row, parts in enumerate(zip(*columns, strict=True)) if not any(map(str.strip, parts))]
    if blank:
        what = "there is no text" if len(columns) == 1 else f"there is no text, nor in {task.text[1]!r}"
        raise InvalidInputError(complain(table, task.text[0], blank, what), "Fill it in or remove the row.")
    return list(zip(*columns, strict=True)) if len(columns) == 2 else columns[0]


def _require_text(table: Table, column: str, cells: Sequence[Any]) -> None:
    wrong = [row for row, cell in enumerate(cells) if not isinstance(cell, str)]
    if wrong:
        cell = cells[wrong[0]]
        what = "there is no text (null)" if _is_null(cell) else f"{cell!r:.80} is no text"
        fix = (
            "Fill it in or remove the row." if _is_null(cell) else "Store the column as text, not as numbers."
        )
        raise InvalidInputError(complain(table, column, wrong, what), fix)
    halves = [row for row, cell in enumerate(cells) if not _is_encodable(cell)]
    if halves:
        raise InvalidInputError(
            complain(table, column, halves, "the text holds half a character (a lone surrogate)"),
            "Write the character whole: it was cut in two by whatever made the file.",
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def settle_labels(task: Task, train: Table) -> Task:
    """The task with its labels: as declared, or else those of the train split, sorted.

    Raises:
        InvalidInputError: The train split's labels are no labels, or there is nothing to learn from them.
    """
    names = _read_names(task, train)
    unlabelled = [row for row, name in enumerate(names) if name is None]
    if unlabelled:
        raise InvalidInputError(
            complain(
                train, task.label, unlabelled, "−1 means that the row has no label, so nothing can be learned"
            ),
            'Remove the row; or, if -1 is one of the labels, list them in the task file: labels = ["-1", "1"].',
        )
    found = sorted({name for name in names if name is not None})
    if task.labels is None:
        _require_names(task, train, names, found)
    else:
        _require_known(task, train, names)
    if len(found) < 2:
        raise InvalidInputError(
            f"{train.where}, column {task.label!r}, holds one label only, {found[0]!r}: there is nothing to learn.",
            "A classification needs examples of two labels or more.",
        )
    unseen = [label for label in task.labels or () if label not in found]
    if unseen:
        logger.warning("%s has no example of %s.", train.where, ", ".join(map(repr, unseen)))
    if problem := find_unscorable(task.metrics, task.labels or found):
        raise InvalidInputError(
            f"{train.where}, column {task.label!r}: {problem}.",
            'Mend the labels, or take metrics = ["macro_f1"] in the task file.',
        )
    return task.model_copy(update={"labels": task.labels or tuple(found)})


def read_labels(task: Task, table: Table, *, training: bool) -> Labels:
    """Class indices or targets `[N]`; `UNLABELLED` throughout for a split that is only predicted.

    Args:
        task: Its labels are known.
        table: The split.
        training: Whether it is learned from.

    Raises:
        InvalidInputError: A cell is none of the labels, or no finite number; or only some rows have a label.
    """
    if task.kind == "regression":
        return _read_targets(task, table, training=training)
    names = _read_names(task, table)
    _require_known(task, table, names)
    unlabelled = [row for row, name in enumerate(names) if name is None]
    if 0 < len(unlabelled) < len(names):
        raise InvalidInputError(
            complain(
                table, task.label, unlabelled, "−1 means that the row has no label, while other rows have one"
            ),
            "Label every row, or none (then the split is predicted and not scored).",
        )
    index = {label: number for number, label in enumerate(task.labels or ())}
    return np.array([UNLABELLED if name is None else index[name] for name in names], dtype=np.int64)


def _read_names(task: Task, table: Table) -> list[str | None]:
    """Each row's label by name; None is −1, which means unlabelled unless the task declares it."""
    cells = table.columns[task.label]
    empty = [
        row
        for row, cell in enumerate(cells)
        if _is_null(cell) or (isinstance(cell, str) and not cell.strip())
    ]
    if empty:
        raise InvalidInputError(
            complain(table, task.label, empty, "there is no label"),
            "Fill it in or remove the row. (-1 in all rows of a validation file means: predict, do not score.)",
        )
    names = [name_label(cell) for cell in cells]
    wrong = [row for row, name in enumerate(names) if name is None]
    if wrong:
        raise InvalidInputError(
            complain(table, task.label, wrong, f"{cells[wrong[0]]!r:.80} is no label"),
            'A label is a word or a whole number; numbers to be learned as such are a task of kind = "regression".',
        )
    declared = str(UNLABELLED) in (task.labels or ())
    return [None if name == str(UNLABELLED) and not declared else name for name in names]


def _require_names(task: Task, train: Table, names: list[str | None], found: list[str]) -> None:
    """Refuse labels that nobody declared and that look like a mistake."""
    twins = fold_labels(found)
    if twins:
        rarer = min(twins, key=names.count)
        raise InvalidInputError(
            complain(
                train,
                task.label,
                [names.index(rarer)],
                f"the labels {' and '.join(map(repr, twins))} differ in case only",
            ),
            "Spell the label one way throughout.",
        )
    if all(map(_is_number, found)) and not all(_is_whole(name) for name in found):
        row = next(row for row, name in enumerate(names) if name is not None and not _is_whole(name))
        raise InvalidInputError(
            complain(train, task.label, [row], f"{names[row]!r} is a number with a fraction, no label"),
            'Set kind = "regression" in the task file; or, if these are names, list them: labels = ["0.5", "1.5"].',
        )
    if len(found) == len(names) >= ROWS_FOR_A_DOUBT:
        raise InvalidInputError(
            f"{train.where}, column {task.label!r}: each of the {len(names):,} rows has a label of its own.",
            "Name the right column in the task file's `label`; or list the labels there: labels = [...].",
        )


def _require_known(task: Task, table: Table, names: Sequence[str | None]) -> None:
    known = task.labels or ()
    strange = [row for row, name in enumerate(names) if name is not None and name not in known]
    if not strange:
        return
    name = str(names[strange[0]])
    same = [label for label in known if label.lower() == name.strip().lower()]
    fix = (
        f"Spell it {same[0]!r}." if same else "Mend the row, or list every label in the task file's `labels`."
    )
    raise InvalidInputError(
        complain(table, task.label, strange, f"the label {name!r} is none of {list(known)}"), fix
    )


def _read_targets(task: Task, table: Table, *, training: bool) -> Labels:
    cells = table.columns[task.label]
    wrong = [row for row, cell in enumerate(cells) if not _is_number(cell)]
    if wrong:
        raise InvalidInputError(
            complain(table, task.label, wrong, f"the target {cells[wrong[0]]!r:.80} is no finite number"),
            'Mend or remove the row, or set kind = "classification" in the task file.',
        )
    targets = np.array([float(cell) for cell in cells], dtype=np.float64)
    if training and np.ptp(targets) == 0:
        raise InvalidInputError(
            f"{table.where}, column {task.label!r}, holds one target only, {targets[0]:g}: there is nothing to learn.",
            "A regression needs examples with two targets or more.",
        )
    return targets


def _is_null(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _is_number(cell: Any) -> bool:
    """Whether a cell is a finite number, or the text of one; Python's `1_000` is neither, nor is `true`."""
    if isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell):
        return False
    try:
        return math.isfinite(float(cell))
    except (TypeError, ValueError, OverflowError):
        return False


def _is_whole(text: str) -> bool:
    return float(text).is_integer()
