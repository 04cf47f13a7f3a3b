"""A task's examples, read, checked and tokenized."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from compress.data.batching import TokenizedSet
from compress.data.checking import Labels, Texts, read_labels, read_texts, require_columns, settle_labels
from compress.data.tables import Table, name_classes, read_table
from compress.errors import CompressError, InvalidInputError, first_line
from compress.tasks import GLUE_HUB_ID, SPLIT_SIZES, FilesSource, GlueSource, Task

HOLDOUT_SHARE = 0.1
HOLDOUT_ROWS = 2000


@dataclass(frozen=True)
class Split:
    """Examples of one split: texts (or pairs), and labels as class indices `[N]` or targets `[N]`."""

    name: str
    texts: Texts
    labels: Labels

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def sentences(self) -> list[str]:
        """The texts, both of a pair each by itself."""
        return [part for text in self.texts for part in ((text,) if isinstance(text, str) else text)]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every text and label, in order."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            content = sentence.encode()
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
    def name(self) -> str:
        """The task's."""
        return self.task.name

    @property
    def fingerprint(self) -> str:
        """A hash of what training can see: the train split."""
        return self.train.fingerprint

    @property
    def published_examples(self) -> int | None:
        """How many examples GLUE's train split has as published, of which a clone may hold a part; None of another task."""
        source = self.task.source
        return SPLIT_SIZES.get((source.config, self.train.name)) if isinstance(source, GlueSource) else None


def load_task_data(task: Task) -> TaskData:
    """Read a task's splits and turn its labels into class indices.

    Raises:
        CompressError: The Hub cannot be reached, or the clone cannot be read.
        InvalidInputError: A file cannot be read, a column is missing, a text is empty, a label is none of the
            task's, or there is nothing to learn; file, row and column are named.
    """
    if task.train is None:
        raise InvalidInputError(
            f"The task {task.name!r} has no train split: it is there to be answered, not to be learned.",
            f"Train on mnli, then: compress evaluate MODEL --task {task.name}",
        )
    task, train = _read_checked(task, task.train)
    return TaskData(task, train, tuple(_read_checked(task, name)[1] for name in task.validation))


def load_validation(task: Task) -> tuple[Task, tuple[Split, ...]]:
    """Read what a task's models are scored on; the train split only where it alone tells what the labels are.

    Raises:
        CompressError: The Hub cannot be reached, or the clone cannot be read.
        InvalidInputError: A split is not what it should be; file, row and column are named.
    """
    if task.kind == "classification" and task.labels is None:
        data = load_task_data(task)
        return data.task, data.validation
    return task, tuple(_read_checked(task, name)[1] for name in task.validation)


def examine_splits(task: Task) -> tuple[Task, dict[str, Split | list[CompressError]]]:
    """Read and check each split by itself, its labels and its texts, so that no mistake hides the next.

    Returns:
        The task, with the labels that its train split gives; and for each split its examples or all that is wrong.
    """
    found: dict[str, Split | list[CompressError]] = {}
    for name in (*([task.train] if task.train else []), *task.validation):
        labelled, found[name] = _examine_split(task, name)
        task = labelled if name == task.train else task
    return task, found


def _examine_split(task: Task, name: str) -> tuple[Task, Split | list[CompressError]]:
    mistakes: list[CompressError] = []
    try:
        table = _read_split(task, name)
        require_columns(task, table)
    except CompressError as error:
        return task, [error]
    try:
        task = _settle(task, table, name=name)
        labels = read_labels(task, table, training=name == task.train)
    except CompressError as error:
        mistakes.append(error)
    try:
        texts = read_texts(task, table)
    except CompressError as error:
        mistakes.append(error)
    return task, mistakes or Split(name, texts, labels)


def hold_out(train: Split, *, seed: int) -> tuple[Split, Split]:
    """Part the train split into what is learned and what early stopping looks at.

    Returns:
        The rest and the hold-out.
    """
    rest, held = hold_out_rows(len(train), seed=seed)
    return train.select(rest, name=train.name), train.select(held, name="holdout")


def count_held_out(count: int) -> int:
    """How many of a train split's rows early stopping looks at."""
    return max(1, min(HOLDOUT_ROWS, round(HOLDOUT_SHARE * count)))


def hold_out_rows(count: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a train split of `count` that are learned, and those that early stopping looks at.

    The hold-out is 10 % of the rows, at most 2,000, drawn by the seed; nothing is selected on the split that is
    reported.

    Returns:
        The numbers of the rest and of the hold-out, each ascending.
    """
    held = count_held_out(count)
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


def tokenize_split(split: Split, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> TokenizedSet:
    """A split as a model takes it: token ids, and `labels` `[N]`."""
    encoded, cut = tokenize(split.texts, tokenizer, max_length=max_length)
    precise = split.labels.dtype == np.int64
    labels = split.labels if precise else split.labels.astype(np.float32)
    return TokenizedSet(encoded, {"labels": labels}, truncated=cut)


def _read_checked(task: Task, name: str) -> tuple[Task, Split]:
    """A split's examples, and the task with the labels that it was checked against.

    They are settled on the train split; a split that is read without one settles its own.
    """
    table = _read_split(task, name)
    require_columns(task, table)
    task = _settle(task, table, name=name)
    texts = read_texts(task, table)
    return task, Split(name, texts, read_labels(task, table, training=name == task.train))


def _settle(task: Task, table: Table, *, name: str) -> Task:
    asked = task.kind == "classification" and (name == task.train or task.labels is None)
    return settle_labels(task, table) if asked else task


def _read_split(task: Task, name: str) -> Table:
    source = task.source
    return (
        _read_glue(source, name)
        if isinstance(source, GlueSource)
        else read_table(_file_of(source, task, name))
    )


def _file_of(source: FilesSource, task: Task, split: str) -> Path:
    return Path(source.train if split == task.train else source.validation[task.validation.index(split)])


def _read_glue(source: GlueSource, split: str) -> Table:
    import datasets

    place = f"the clone {source.clone}" if source.clone else f"the Hub dataset {GLUE_HUB_ID}"
    try:
        rows = datasets.load_dataset(source.clone or GLUE_HUB_ID, source.config, split=split)
        columns = name_classes({name: list(rows[name]) for name in rows.column_names}, rows.features)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise CompressError(
            f"The split {split!r} of {source.config!r} could not be read from {place}: "
            f"{first_line(error.__cause__ or error)}",
            "Be online, or point --glue (or COMPRESS_GLUE) at a local clone of the dataset that holds this split.",
        ) from None
    return Table(f"the split {split!r} of {source.config!r} in {place}", columns)
