"""What each run scored, and how much of the baseline's score it keeps on the very same examples."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from compress.reporting.data import Predictions, RunData
from compress.reporting.schema import Interval, ScoreResult
from compress.runs import Evaluation
from compress.statistics import Array, Estimate, best_constant_score, estimate_retention, estimate_score

TOLERANCE = 1e-6
"""A recorded score may differ so much from the one its predictions give: the last bits of float32."""


class Aligned(NamedTuple):
    """Labels `[N]` and on the same examples the predictions `[N]` of models, and of the baseline's seeds."""

    labels: Array
    answers: list[Array]
    bases: list[Array]


def score_run(data: RunData, references: Sequence[RunData]) -> tuple[ScoreResult, ...]:
    """Every metric of a run on every split of its task, the primary one first.

    Args:
        data: The run.
        references: The baseline's seeds, which may be the same; the first one's examples count.
    """
    task = data.run.answered_task
    own = data.run.id in {each.run.id for each in references}
    results = []
    for split, evaluation in choose_evaluations(data).items():
        found = align_all([data], references=references, split=split)
        for score in evaluation.scores:
            retention = None if own or found is None else retain(score.name, found)
            results.append(
                ScoreResult(
                    split=split,
                    metric=score.name,
                    n=score.n,
                    score=Interval(value=score.value, low=score.low, high=score.high),
                    retention=retention,
                    comparable=data is references[0] or found is not None,
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


def score_constant(reference: RunData) -> float | None:
    """What the best constant answer scores where `find_primary` looks: on the baseline's examples; None where it has none."""
    evaluation = next(iter(choose_evaluations(reference).values()), None)
    if evaluation is None:
        return None
    metric = reference.run.answered_task.primary_metric
    return best_constant_score(metric, reference.predictions[evaluation.key].labels)


def list_evaluations(data: RunData) -> dict[str, list[Evaluation]]:
    """Split → the evaluations of a run on it, of its own task and labelled; in the task's order."""
    task = data.run.answered_task
    scored = [each for each in data.evaluations if each.scores and each.task == task.name]
    known = [split for split in task.validation if any(each.split == split for each in scored)]
    splits = dict.fromkeys([*known, *sorted(each.split for each in scored)])
    return {split: [each for each in scored if each.split == split] for split in splits}


def count_answers(runs: Sequence[RunData], model: Collection[RunData]) -> dict[str, Counter[str]]:
    """Split → fingerprint of data → how many runs answered them, those of other models than one before all.

    Args:
        runs: Of one task.
        model: Those of them that the others are compared with.
    """
    found: dict[str, Counter[str]] = {}
    seeds = {each.run.id for each in model}
    for data in runs:
        weight = 1 if data.run.id in seeds else len(runs) + 1
        for split, evaluations in list_evaluations(data).items():
            found.setdefault(split, Counter()).update(
                dict.fromkeys((each.data for each in evaluations), weight)
            )
    return found


def settle_data(runs: Sequence[RunData], base: RunData, model: Collection[RunData]) -> list[RunData]:
    """Runs, with what is compared on each split: of the baseline's data those that most others answered.

    Of equals the ones with the most examples. Where the baseline has none of a split, those that most runs have.

    Args:
        runs: Of one task.
        base: The baseline.
        model: Itself and its other seeds.
    """
    sizes = {
        (split, each.data): each.scores[0].n
        for data in runs
        for split, evaluations in list_evaluations(data).items()
        for each in evaluations
    }
    own = {split: {each.data for each in found} for split, found in list_evaluations(base).items()}
    compared = {
        split: min(own.get(split) or answers, key=lambda data: (-answers[data], -sizes[split, data], data))
        for split, answers in count_answers(runs, model).items()
    }
    return [replace(each, compared=compared) for each in runs]


def choose_evaluations(data: RunData, *, on: Mapping[str, str] | None = None) -> dict[str, Evaluation]:
    """One evaluation a split: on the data that are compared, then of the most examples, then by key.

    Args:
        data: The run.
        on: Split → fingerprint of the data wanted; default those that its section compares on.
    """
    wanted = data.compared if on is None else on
    return {
        split: min(
            candidates,
            key=lambda each: (each.data != wanted.get(split, each.data), -each.scores[0].n, each.key),
        )
        for split, candidates in list_evaluations(data).items()
    }


def align(
    data: RunData, evaluation: Evaluation, *, reference: RunData, other: Evaluation
) -> tuple[Array, Array, Array] | None:
    """Labels, own and baseline's predictions `[N]`, row by row; None where the examples differ."""
    own, base = data.predictions[evaluation.key], reference.predictions[other.key]
    if evaluation.data != other.data or not np.array_equal(own.rows, base.rows):
        return None
    if not np.array_equal(own.labels, base.labels):
        return None
    return own.labels, own.predictions, base.predictions


def align_all(models: Sequence[RunData], *, references: Sequence[RunData], split: str) -> Aligned | None:
    """What models and a baseline's seeds answered on the examples of a split; None where a model saw others.

    Args:
        models: Whose answers are wanted.
        references: The baseline's seeds. The first one's examples count; of the others those that saw the same are taken.
        split: Of the task.
    """
    answers = [_align(data, references[0], split) for data in models]
    bases = [_align(data, references[0], split) for data in references]
    labels = next((found[0] for found in bases if found), None)
    if labels is None or not all(answers):
        return None
    return Aligned(labels, [found[1] for found in answers if found], [found[1] for found in bases if found])


def align_seeds(seeds: Sequence[RunData], *, references: Sequence[RunData], split: str) -> Aligned | None:
    """As `align_all`, of runs that differ in their seeds alone; None where these saw different examples.

    Where the first of them saw others than the baseline there are no `bases`.
    """
    if align_all(seeds[:1], references=references, split=split):
        return align_all(seeds, references=references, split=split)
    alone = align_all(seeds, references=seeds[:1], split=split)
    return alone and alone._replace(bases=[])


def _align(data: RunData, reference: RunData, split: str) -> tuple[Array, Array] | None:
    other = choose_evaluations(reference).get(split)
    if other is None:
        return None
    own = choose_evaluations(data, on={split: other.data}).get(split)
    pair = align(data, own, reference=reference, other=other) if own else None
    return pair[:2] if pair else None


def retain(metric: str, found: Aligned) -> Interval | None:
    """The share of the baseline's score that models, seeds of one kind, keep on average."""
    try:
        return Interval.of(estimate_retention(metric, found.labels, found.answers, found.bases))
    except ValueError:  # the baseline is no better than a constant answer; a caveat says so
        return None


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
    labels, answers = predictions.labels, predictions.predictions
    for score in evaluation.scores:
        found = estimate_score(score.name, labels, answers) if len(labels) else Estimate(*[float("nan")] * 3)
        told = Estimate(score.value, score.low, score.high)
        if not np.allclose(found, told, rtol=0, atol=TOLERANCE) or score.n != len(labels):
            problems.append(
                f"{data.run.id}: {score.name} on {evaluation.split} is recorded as {_tell(told)} (n = {score.n}), "
                f"its predictions give {_tell(found)} (n = {len(labels)})"
            )
    return problems


def _tell(estimate: Estimate) -> str:
    return f"{estimate.value:.6f} ({estimate.low:.6f} to {estimate.high:.6f})"
