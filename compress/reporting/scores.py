"""What each run scored, and how much of the baseline's score it keeps on the very same examples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compress.reporting.data import Predictions, RunData
from compress.reporting.schema import Interval, ScoreResult
from compress.runs import Evaluation
from compress.statistics import METRICS, Array, estimate_retention
from compress.tasks import Kind

UNLABELLED = -1
TOLERANCE = 1e-6
"""A recorded score may differ so much from the one its predictions give: the last bits of float32."""


def score_run(data: RunData, reference: RunData) -> tuple[ScoreResult, ...]:
    """Every metric of a run on every split of its task, the primary one first.

    Args:
        data: The run.
        reference: The baseline's run, which may be the same.
    """
    task = data.run.answered_task
    references = choose_evaluations(reference)
    results = []
    for split, evaluation in choose_evaluations(data, preferred=references).items():
        other = references.get(split)
        pair = None if other is None else align(data, evaluation, reference=reference, other=other)
        own = data.run.id == reference.run.id
        for score in evaluation.scores:
            retention = None if own or pair is None else _retain(score.name, *pair)
            results.append(
                ScoreResult(
                    split=split,
                    metric=score.name,
                    n=score.n,
                    score=Interval(value=score.value, low=score.low, high=score.high),
                    retention=retention,
                    comparable=own or pair is not None,
                    evaluation=evaluation.key,
                    engine=evaluation.engine,
                    batches=evaluation.batches,
                    truncated=evaluation.truncated,
                )
            )
    order: dict[str, int] = {name: place for place, name in enumerate(task.metrics)}
    splits = list(dict.fromkeys(result.split for result in results))
    return tuple(sorted(results, key=lambda r: (splits.index(r.split), order.get(r.metric, len(order)))))


def find_primary(data: RunData, reference: RunData, scores: Sequence[ScoreResult]) -> ScoreResult | None:
    """The task's primary metric, of these scores, on the first split that the baseline was evaluated on."""
    split = next(iter(choose_evaluations(reference) or choose_evaluations(data)), None)
    wanted = (split, data.run.answered_task.primary_metric)
    return next((result for result in scores if (result.split, result.metric) == wanted), None)


def list_evaluations(data: RunData) -> dict[str, list[Evaluation]]:
    """Split → the evaluations of a run on it, of its own task and labelled; in the task's order."""
    task = data.run.answered_task
    scored = [each for each in data.evaluations if each.scores and each.task == task.name]
    known = [split for split in task.validation if any(each.split == split for each in scored)]
    splits = dict.fromkeys([*known, *sorted(each.split for each in scored)])
    return {split: [each for each in scored if each.split == split] for split in splits}


def choose_evaluations(
    data: RunData, *, preferred: dict[str, Evaluation] | None = None
) -> dict[str, Evaluation]:
    """One evaluation a split: on the preferred one's data, then of the most examples, then by key."""
    chosen = {}
    for split, candidates in list_evaluations(data).items():
        wanted = (preferred or {}).get(split)
        chosen[split] = min(
            candidates,
            key=lambda each: (wanted is not None and each.data != wanted.data, -each.scores[0].n, each.key),
        )
    return chosen


def align(
    data: RunData, evaluation: Evaluation, *, reference: RunData, other: Evaluation
) -> tuple[Array, Array, Array] | None:
    """Labels, own and baseline's predictions `[N]`, row by row; None where the examples differ."""
    own, base = data.predictions[evaluation.key], reference.predictions[other.key]
    if evaluation.data != other.data or not np.array_equal(own.rows, base.rows):
        return None
    if not np.array_equal(own.labels, base.labels):
        return None
    kept = labelled(own, data.run.answered_task.kind)
    return own.labels[kept], own.predictions[kept], base.predictions[kept]


def align_all(
    models: Sequence[RunData], *, reference: RunData, other: Evaluation
) -> tuple[Array, list[Array], Array] | None:
    """Labels `[N]`, each model's predictions and the reference's, on one split; None where one saw other examples."""
    columns = []
    for data in models:
        own = choose_evaluations(data, preferred={other.split: other}).get(other.split)
        pair = align(data, own, reference=reference, other=other) if own else None
        if pair is None:
            return None
        columns.append(pair)
    labels, _, base = columns[0]
    return labels, [predictions for _, predictions, _ in columns], base


def labelled(predictions: Predictions, kind: Kind) -> NDArray[np.bool_]:
    """Which examples have a label to be scored by, `[N]`; of a regression each has."""
    if kind == "regression":
        return np.ones(len(predictions.labels), dtype=np.bool_)
    return np.not_equal(predictions.labels, UNLABELLED)


def _retain(metric: str, labels: Array, own: Array, baseline: Array) -> Interval | None:
    try:
        estimate = estimate_retention(metric, labels, own, baseline)
    except ValueError:  # the baseline is no better than a constant answer; a caveat says so
        return None
    return Interval.of(estimate)


def find_false_scores(runs: Sequence[RunData]) -> list[str]:
    """Recorded scores that the predictions beside them do not give, and predictions that are not their logits'."""
    problems = []
    for data in runs:
        for evaluation in data.evaluations:
            if not _follow(data.predictions[evaluation.key]):
                problems.append(
                    f"{data.run.id}: predictions on {evaluation.split} do not follow from their logits"
                )
            if evaluation.task == data.run.answered_task.name:
                problems += _find_false(data, evaluation)
    return problems


def _follow(answers: Predictions) -> bool:
    """Whether each prediction is the class of the largest logit, or, of a single one, the logit."""
    if answers.logits.shape[1] == 1:
        return bool(
            np.allclose(answers.logits[:, 0], answers.predictions, rtol=0, atol=TOLERANCE, equal_nan=True)
        )
    return np.array_equal(answers.logits.argmax(axis=1), answers.predictions)


def _find_false(data: RunData, evaluation: Evaluation) -> list[str]:
    predictions, problems = data.predictions[evaluation.key], []
    kept = labelled(predictions, data.run.answered_task.kind)
    labels, answers = predictions.labels[kept], predictions.predictions[kept]
    for score in evaluation.scores:
        found = METRICS[score.name](labels, answers) if len(labels) else float("nan")
        if not abs(found - score.value) <= TOLERANCE or score.n != len(labels):
            problems.append(
                f"{data.run.id}: {score.name} on {evaluation.split} is recorded as {score.value:.6f} "
                f"(n = {score.n}), its predictions give {found:.6f} (n = {len(labels)})"
            )
    return problems
