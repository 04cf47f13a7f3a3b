"""A task's examples, read, checked and tokenized."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.errors import CompressError, InvalidInputError, first_line
from compress.tasks import GLUE_HUB_ID, FilesSource, GlueSource, Task

HOLDOUT_SHARE = 0.1
HOLDOUT_ROWS = 2000
UNLABELLED = -1

Texts = list[str] | list[tuple[str, str]]
Labels = NDArray[np.int64] | NDArray[np.float64]
"""Class indices or targets, `[N]`."""


@dataclass(frozen=True)
class Split:
    """Examples of one split: texts (or pairs), and labels as class indices `[N]` or targets `[N]`."""

    name: str
    texts: Texts
    labels: Labels

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every text and label, in order."""
        digest = hashlib.sha256()
        for text in self.texts:
            for part in (text,) if isinstance(text, str) else text:
                content = part.encode()
                digest.update(len(content).to_bytes(8, "little") + content)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()[:16]

    def select(self, rows: Sequence[int] | NDArray[np.int64], *, name: str) -> "Split":
        """The examples of the given rows, in their order."""
        texts = [self.texts[row] for row in rows]
        return Split(name, texts, self.labels[np.asarray(rows)])  # type: ignore[arg-type]


@dataclass(frozen=True)
class TaskData:
    """A task whose labels are known, with its examples."""

    task: Task
    train: Split
    validation: tuple[Split, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of what training can see: the train split."""
        return self.train.fingerprint


def load_task_data(task: Task) -> TaskData:
    """Read a task's splits and turn its labels into class indices.

    Raises:
        CompressError: A file or the Hub cannot be reached or read.
        InvalidInputError: A column is missing, a text is empty, a label is none of the task's.
    """
    train = _read_split(task, task.train)
    task = (
        task if task.kind == "regression" else task.model_copy(update={"labels": _label_names(task, train)})
    )
    return TaskData(
        task=task,
        train=_check_split(task, train, task.train),
        validation=tuple(_check_split(task, _read_split(task, name), name) for name in task.validation),
    )


def hold_out(train: Split, *, seed: int) -> tuple[Split, Split]:
    """Part the train split into what is learned and what early stopping looks at.

    Returns:
        The rest and the hold-out.
    """
    rest, held = hold_out_rows(len(train), seed=seed)
    return train.select(rest, name=train.name), train.select(held, name="holdout")


def hold_out_rows(count: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a train split of `count` that are learned, and those that early stopping looks at.

    The hold-out is 10 % of the rows, at most 2,000, drawn by the seed; nothing is selected on the split that is
    reported.

    Returns:
        The numbers of the rest and of the hold-out, each ascending.
    """
    held = max(1, min(HOLDOUT_ROWS, round(HOLDOUT_SHARE * count)))
    order = np.random.default_rng([seed, count]).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def tokenize(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> tuple[dict[str, list[list[int]]], int]:
    """Token ids of texts or pairs, truncated, not padded.

    Returns:
        The model's inputs, each a list of `N` lists; and how many texts were cut.
    """
    if not texts:
        return {"input_ids": [], "attention_mask": []}, 0
    columns = (
        [list(column) for column in zip(*texts, strict=True)] if isinstance(texts[0], tuple) else [texts]
    )
    encoded = tokenizer(*columns, truncation=True, max_length=max_length, return_overflowing_tokens=False)
    cut = sum(len(ids) >= max_length for ids in encoded["input_ids"])
    if cut:
        whole = tokenizer(*columns, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(ids) > max_length for ids in whole)
    return {key: encoded[key] for key in encoded}, cut


def _read_split(task: Task, name: str) -> datasets.Dataset:
    source = task.source
    if isinstance(source, GlueSource):
        return _read_glue(source, name)
    return _read_file(source, task, name)


def _read_glue(source: GlueSource, split: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(source.clone or GLUE_HUB_ID, source.config, split=split)
    except (OSError, ValueError) as error:
        where = f"the clone {source.clone}" if source.clone else f"the Hub dataset {GLUE_HUB_ID}"
        raise CompressError(
            f"The split {split!r} of {source.config!r} could not be read from {where}: {first_line(error)}",
            "Be online, or point --glue (or COMPRESS_GLUE) at a local clone of the dataset that holds this split.",
        ) from None


FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def _read_file(source: FilesSource, task: Task, split: str) -> datasets.Dataset:
    file = source.train if split == task.train else source.validation[task.validation.index(split)]
    path = Path(file)
    if path.suffix not in FORMATS:
        raise InvalidInputError(f"{path} is of no known format.", f"Bring one of: {', '.join(FORMATS)}.")
    if not path.is_file():
        raise InvalidInputError(f"The {split} file {path} does not exist.", "Mend the path in the task file.")
    options: dict[str, Any] = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
    if FORMATS[path.suffix] == "csv":
        options |= {"keep_default_na": False, "na_values": []}
    try:
        return datasets.load_dataset(FORMATS[path.suffix], data_files=str(path), split="train", **options)
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        reason = first_line(error.__cause__ or error)
        raise InvalidInputError(f"{path} could not be read: {reason}", "Mend the file.") from None


def _label_names(task: Task, train: datasets.Dataset) -> tuple[str, ...]:
    """The task's labels: as declared, or else those found in the train split, sorted."""
    if task.labels is not None:
        return task.labels
    _require_columns(task, train, task.train)
    found = sorted({str(label) for label in train[task.label]})
    if len(found) < 2:
        raise InvalidInputError(
            f"The column {task.label!r} of the {task.train} split holds {len(found)} different label(s): {found}.",
            "A classification needs two or more.",
        )
    return tuple(found)


def _check_split(task: Task, rows: datasets.Dataset, name: str) -> Split:
    _require_columns(task, rows, name)
    if len(rows) == 0:
        raise InvalidInputError(f"The {name} split of {task.name!r} is empty.", "Bring at least one example.")
    columns = [list(rows[column]) for column in task.text]
    for row, parts in enumerate(zip(*columns, strict=True)):
        _check_texts(task, parts, row, name)
    texts: Texts = list(zip(*columns, strict=True)) if len(columns) == 2 else columns[0]
    return Split(name, texts, _read_labels(task, rows, name))


def _check_texts(task: Task, parts: tuple[Any, ...], row: int, name: str) -> None:
    """One side of a pair may be empty (GLUE's QQP has such rows), a whole row may not."""
    if not all(isinstance(part, str) for part in parts) or not any(part.strip() for part in parts):
        raise InvalidInputError(
            f"Row {row} (from 0) of the {name} split of {task.name!r} has no text in {', '.join(task.text)}: "
            f"{parts!r:.80}.",
            "Fill it in or remove the row.",
        )


def _require_columns(task: Task, rows: datasets.Dataset, name: str) -> None:
    missing = [column for column in (*task.text, task.label) if column not in rows.column_names]
    if missing:
        raise InvalidInputError(
            f"The {name} split of {task.name!r} has no column {', '.join(map(repr, missing))}; "
            f"it has {', '.join(map(repr, rows.column_names))}.",
            "Name the columns in the task file's `text` and `label`.",
        )


def _read_labels(task: Task, rows: datasets.Dataset, name: str) -> Labels:
    values = list(rows[task.label])
    if task.kind == "regression":
        return np.array(
            [_read_number(task, value, row, name) for row, value in enumerate(values)], dtype=np.float64
        )
    feature = rows.features[task.label]
    if isinstance(feature, datasets.ClassLabel):
        # Aligned by name: the data's own numbering need not be the task's.
        values = [value if value == UNLABELLED else feature.int2str(value) for value in values]
    index = {label: number for number, label in enumerate(task.labels or ())}
    for row, value in enumerate(values):
        if str(value) not in index and value != UNLABELLED:
            raise InvalidInputError(
                f"Row {row} (from 0) of the {name} split of {task.name!r} has the label {value!r}, "
                f"which is none of {list(index)}.",
                "Mend the row, or list every label in the task file's `labels`.",
            )
    return np.array([index.get(str(value), UNLABELLED) for value in values], dtype=np.int64)


def _read_number(task: Task, value: Any, row: int, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise InvalidInputError(
            f"Row {row} (from 0) of the {name} split of {task.name!r} has the target {value!r}, which is no number.",
            'Mend the row, or set kind = "classification" in the task file.',
        )
    return number
