"""Two models over several tasks: the mean of either, and of the difference, by the statistic of the overview."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from compress.recipes.values import Frozen
from compress.reporting.candidates import geometric_mean_and_range
from compress.reporting.data import RunData
from compress.reporting.schema import Interval
from compress.reporting.scores import align_all, choose_evaluations
from compress.statistics import Array, draw_means, mean_score, percentile_interval
from compress.tasks import GLUE_TITLES

Sides = tuple[Sequence[RunData], Sequence[RunData]]
"""The runs of the one model and of the other, of each one a seed."""


class Overall(Frozen):
    """Both models over `tasks`: the mean score of each and of the first's minus the second's, paired, with 95 % intervals.

    A task's score is the mean of its metrics on its splits, as in the overview. `outside` are tasks that were compared
    and have no part in it: WNLI, and those where the two were not scored on each of the splits. `bytes` are those of either's largest
    artefact; `smaller` is the geometric mean of the second's over the first's, its bounds the least and the most of a task.
    """

    tasks: tuple[str, ...]
    outside: tuple[str, ...]
    ours: Interval
    theirs: Interval
    gain: Interval
    bytes: tuple[int, int]
    smaller: Interval | None


class _Draws(NamedTuple):
    """Scores and their resamples `[R]`: of both, the second's drawn together with the first's (`paired`) and alone."""

    ours: float
    theirs: float
    our_samples: Array
    paired: Array
    alone: Array


def find_overall(sides: Mapping[str, Sides]) -> Overall | None:
    """The mean over tasks of two models; None of fewer than two tasks.

    Args:
        sides: Task → the two, with the data that they are compared on.
    """
    places = {name: place for place, name in enumerate(GLUE_TITLES)}
    ordered = sorted(sides, key=lambda task: (places.get(task, len(places)), task))
    inside = [task for task in ordered if not sides[task][0][0].run.answered_task.outside_mean]
    found = {task: _draw(*sides[task], order=place) for place, task in enumerate(inside)}
    draws = [each for each in found.values() if each]
    if len(draws) < 2:
        return None
    whole = _mean(draws)
    tasks = tuple(task for task in inside if found[task])
    sizes = [tuple(side[0].run.artefact_bytes for side in sides[task]) for task in tasks]
    ours, theirs = zip(*sizes, strict=True)
    return Overall(
        tasks=tasks,
        outside=tuple(task for task in ordered if task not in tasks),
        ours=_interval(whole.ours, whole.our_samples),
        theirs=_interval(whole.theirs, whole.alone),
        gain=_interval(whole.ours - whole.theirs, whole.our_samples - whole.paired),
        bytes=(max(ours), max(theirs)),
        smaller=geometric_mean_and_range([b / a for a, b in sizes]) if all(ours) else None,
    )


def _draw(ours: Sequence[RunData], theirs: Sequence[RunData], *, order: int) -> _Draws | None:
    """A task's score, drawn anew with seeds and examples; None where the two saw different examples of a split.

    As in the overview each task has its draws in another order: what is drawn of one says nothing of what is drawn of the next.
    """
    task = ours[0].run.answered_task
    answered = list(choose_evaluations(ours[0]))
    parts = []
    for place, split in enumerate([split for split in answered if split in task.validation] or answered):
        found = align_all([*ours, *theirs], references=[ours[0]], split=split)
        if found is None:
            return None
        sides = found.answers[: len(ours)], found.answers[len(ours) :]
        for metric in task.metrics:
            value, other = (mean_score(metric, found.labels, side) for side in sides)
            samples, paired = draw_means(metric, found.labels, sides, seed=place)
            (alone,) = draw_means(metric, found.labels, sides[1:], seed=place)
            parts.append(_Draws(value, other, samples, paired, alone))
    if not parts:
        return None
    whole = _mean(parts)
    shuffled = np.random.default_rng(order).permutation(len(whole.alone))
    return _Draws(*whole[:2], *(samples[shuffled] for samples in whole[2:]))


def _mean(parts: Sequence[_Draws]) -> _Draws:
    return _Draws(*(np.mean(column, axis=0) for column in zip(*parts, strict=True)))


def _interval(value: float, samples: Array) -> Interval:
    low, high = percentile_interval(samples)
    return Interval(value=float(value), low=low, high=high)
