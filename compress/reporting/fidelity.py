"""How often a model answers as the baseline does, and whether it is as often right as it is sure."""

from collections.abc import Sequence

from compress.calibration import expected_calibration_error
from compress.reporting.data import RunData
from compress.reporting.schema import Fidelity, Interval
from compress.reporting.scores import align, choose_evaluations, labelled
from compress.runs import Evaluation
from compress.statistics import estimate_score


def judge_fidelity(data: RunData, references: Sequence[RunData]) -> tuple[Fidelity, ...]:
    """Agreement with the baseline and calibration of a run, on each split of its task that has labels.

    Args:
        data: The run.
        references: The baseline's seeds, which may be the same; it is the first one's answers that are stood in for.
    """
    reference = references[0]
    others = {} if data.run.id in {each.run.id for each in references} else choose_evaluations(reference)
    return tuple(
        Fidelity(
            split=split,
            n=evaluation.scores[0].n,
            agreement=_agree(data, evaluation, reference, others.get(split)),
            calibration_error=_calibrate(data, evaluation),
        )
        for split, evaluation in choose_evaluations(data, preferred=choose_evaluations(reference)).items()
    )


def _agree(
    data: RunData, evaluation: Evaluation, reference: RunData, other: Evaluation | None
) -> Interval | None:
    """The baseline's answers in the gold labels' place: accuracy is then the share that is equal."""
    if other is None:
        return None
    pair = align(data, evaluation, reference=reference, other=other)
    if pair is None:
        return None
    _, own, base = pair
    metric = "pearson" if data.run.answered_task.kind == "regression" else "accuracy"
    return Interval.of(estimate_score(metric, base, own))


def _calibrate(data: RunData, evaluation: Evaluation) -> float | None:
    task, answers = data.run.answered_task, data.predictions[evaluation.key]
    if task.kind == "regression":
        return None
    kept = labelled(answers, task.kind)
    return expected_calibration_error(answers.labels[kept], answers.logits[kept])
