"""Predictions → scores with intervals, each prediction kept."""

import os
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from compress.data.checking import UNLABELLED, Labels
from compress.data.task_data import Split
from compress.engines import Logits
from compress.environment import describe
from compress.errors import CompressError
from compress.inference import Predictor
from compress.runs import Batches, Evaluation, Score, content_key, write_record
from compress.statistics import METRICS, estimate_score
from compress.tasks import Task

BATCH_SIZE = 32


def predict_split(predictor: Predictor, task: Task, split: Split) -> tuple[Logits, int]:
    """Logits of a split `[N, C]`, in the task's order of labels; and how many texts were cut.

    Raises:
        CompressError: The model's labels are not the task's.
    """
    order = align_labels(predictor.labels, task)
    logits, cut = predictor.logits(split.texts, batch_size=BATCH_SIZE)
    return logits[:, order], cut


def align_labels(labels: tuple[str, ...] | None, task: Task) -> list[int]:
    """For each of the task's labels the column of a model's logits, matched by name, case apart.

    Raises:
        CompressError: The names differ, or one is a regression and the other is not.
    """
    if labels is None and task.labels is None:
        return [0]
    columns = {label.lower(): column for column, label in enumerate(labels or ())}
    wanted = [label.lower() for label in task.labels or ()]
    if set(columns) != set(wanted) or len(labels or ()) != len(wanted):
        raise CompressError(
            f"The model answers {list(labels or ['a number'])}, the task {task.name!r} asks for "
            f"{list(task.labels or ['a number'])}.{_tell_difference(columns.keys(), wanted)}",
            f"Fine-tune a model for this task: compress finetune MODEL --task {task.name}",
        )
    return [columns[label] for label in wanted]


def _tell_difference(known: Set[str], wanted: Sequence[str]) -> str:
    """Which labels only one of the two has, where both have labels and share some."""
    lacks = [label for label in wanted if label not in known]
    more = sorted(known - set(wanted))
    if not wanted or len(lacks) == len(wanted):
        return ""
    told = (("lacks", lacks), ("has no use for", more))
    subjects = ("The model", "The task")
    return "".join(
        f" {subject} {verb} {', '.join(map(repr, labels))}."
        for subject, (verb, labels) in zip(subjects, told, strict=True)
        if labels
    )


def decide(task: Task, logits: Logits) -> Labels:
    """From logits `[N, C]` to predictions `[N]`: the most likely class, or the score."""
    if task.kind == "regression":
        return logits[:, 0].astype(np.float64)
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def primary_score(task: Task, logits: Logits, labels: Labels) -> float:
    """The task's primary metric, without an interval: for early stopping and the teacher's gate."""
    return METRICS[task.primary_metric](labels, decide(task, logits))  # type: ignore[arg-type]


def evaluate(
    predictor: Predictor, task: Task, splits: Sequence[Split], *, run: str, directory: Path
) -> list[Evaluation]:
    """Score a model on splits and keep scores and predictions in `directory/evaluations`.

    Args:
        predictor: The model.
        task: Its labels are known.
        splits: Each is scored on its own; a split without labels gets predictions only.
        run: The id of the run (or the name of the model) that is scored.
        directory: Where the run lies.

    Raises:
        CompressError: The model's labels are not the task's, or an answer of it is no finite number.
    """
    return [_evaluate_split(predictor, task, split, run=run, directory=directory) for split in splits]


def _evaluate_split(
    predictor: Predictor, task: Task, split: Split, *, run: str, directory: Path
) -> Evaluation:
    batches = Batches(size=BATCH_SIZE, order="length", max_length=predictor.max_length)
    identity = [
        run,
        split.name,
        split.fingerprint,
        predictor.engine.name,
        batches.model_dump(),
        list(task.metrics),
    ]
    key = content_key(identity)
    logits, cut = predict_split(predictor, task, split)
    _require_finite(logits, run=run, split=split)
    predictions = decide(task, logits)
    file = directory / "evaluations" / f"{key}.parquet"
    _write_predictions(file, split, predictions, logits)
    evaluation = Evaluation(
        key=key,
        run=run,
        task=task.name,
        split=split.name,
        data=split.fingerprint,
        engine=predictor.engine.name,
        scores=_score(task, split, predictions),
        batches=batches,
        truncated=cut,
        predictions=file.name,
        environment=describe(),
    )
    write_record(file.with_suffix(".json"), evaluation)
    return evaluation


def _require_finite(logits: Logits, *, run: str, split: Split) -> None:
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        raise CompressError(
            f"{run} answers {broken} of the {len(split)} examples of {split.name} with NaN or infinite numbers: "
            "there is nothing to score.",
            "Make it again with a lower learning rate or --no-bf16; or, if it was quantized, with another method.",
        )


def _score(task: Task, split: Split, predictions: Labels) -> tuple[Score, ...]:
    labels = split.labels
    if (labels == UNLABELLED).all():
        return ()
    scores = []
    for metric in task.metrics:
        value, low, high = estimate_score(metric, labels, predictions)  # type: ignore[arg-type]
        scores.append(Score(name=metric, value=value, n=len(labels), low=low, high=high))
    return tuple(scores)


def read_predictions(file: Path) -> Labels:
    """The predictions that an evaluation has kept, `[N]`, in the order of the split."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file, columns=["row", "prediction"]).sort_by("row")
    answers: Labels = table.column("prediction").to_numpy()
    return answers


def _write_predictions(file: Path, split: Split, predictions: Labels, logits: Logits) -> None:
    import pyarrow
    import pyarrow.parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(
        {
            "row": np.arange(len(split)),
            "label": split.labels,
            "prediction": predictions,
            "logits": pyarrow.array(list(logits.astype(np.float32)), type=pyarrow.list_(pyarrow.float32())),
        }
    )
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
