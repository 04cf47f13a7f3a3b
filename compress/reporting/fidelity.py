"""How often a model answers as the baseline does, and whether it is as often right as it is sure."""

from collections.abc import Sequence
from statistics import fmean

from compress.calibration import expected_calibration_error
from compress.reporting.data import RunData
from compress.reporting.schema import Fidelity, Interval
from compress.reporting.scores import Aligned, align_seeds, choose_evaluations
from compress.statistics import best_constant_score, estimate_over_seeds


def judge_fidelity(seeds: Sequence[RunData], references: Sequence[RunData]) -> tuple[Fidelity, ...]:
    """Agreement with the baseline and calibration of a model, on each split of its task that has labels.

    Args:
        seeds: The model's runs, one or several: told is their mean, of the splits whose examples all of them saw.
        references: The baseline's seeds, which may be the same; it is the first one's answers that are stood in for.
    """
    first = seeds[0]
    own = first.run.id in {each.run.id for each in references}
    aligned = {
        split: align_seeds(seeds, references=references[:1], split=split)
        for split in choose_evaluations(first)
    }
    return tuple(
        Fidelity(
            split=split,
            n=len(found.labels),
            agreement=None if own or not found.bases else _agree(first, found),
            calibration_error=_average([_calibrate(each, split) for each in seeds]),
        )
        for split, found in aligned.items()
        if found
    )


def agree_by_constant(reference: RunData) -> float | None:
    """On what share of the baseline's first split its own most frequent answer is its answer; None for a regression, or unscored."""
    evaluation = next(iter(choose_evaluations(reference).values()), None)
    if evaluation is None or reference.run.answered_task.kind == "regression":
        return None
    return best_constant_score("accuracy", reference.predictions[evaluation.key].predictions)


def _agree(data: RunData, found: Aligned) -> Interval:
    """The baseline's answers in the gold labels' place: accuracy is then the share that is equal."""
    metric = "pearson" if data.run.answered_task.kind == "regression" else "accuracy"
    return Interval.of(estimate_over_seeds(metric, found.bases[0], found.answers))


def _calibrate(data: RunData, split: str) -> float | None:
    task, evaluation = data.run.answered_task, choose_evaluations(data)[split]
    answers = data.predictions[evaluation.key]
    if task.kind == "regression":
        return None
    return expected_calibration_error(answers.labels, answers.logits)


def _average(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return fmean(known) if known else None
