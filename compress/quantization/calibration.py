"""What a method of quantization may see of a task: parts of its train split, never a split that is reported."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from compress.data.task_data import Split, TaskData, hold_out
from compress.encoder import Encoder
from compress.engines import Inputs
from compress.inference import Predictor
from compress.parity import evaluating
from compress.tasks import Task


@dataclass(frozen=True)
class CalibrationData:
    """Texts to set scales by, and examples to compare scores on.

    Attributes:
        task: Its labels are known.
        train: The task's train split.
        holdout_seed: Of the part that the model's own training held out.
        seed: Of samples.
    """

    task: Task
    train: Split
    holdout_seed: int
    seed: int

    @classmethod
    def of(cls, data: TaskData, *, holdout_seed: int, seed: int) -> Self:
        """What of a task's examples may be seen."""
        return cls(data.task, data.train, holdout_seed, seed)

    @cached_property
    def held_out(self) -> Split:
        """What the model was not taught: a drop of its score shows here. Early stopping has looked at it, though."""
        return self._parts[1]

    def sample(self, rows: int) -> Split:
        """Some of the examples that the model was taught, or all where there are not so many; drawn by the seed."""
        learned = self._parts[0]
        drawn = np.random.default_rng(self.seed).permutation(len(learned))[:rows]
        return learned.select(np.sort(drawn), name="calibration")

    @cached_property
    def _parts(self) -> tuple[Split, Split]:
        return hold_out(self.train, seed=self.holdout_seed)


def token_batches(encoder: Encoder, split: Split, *, batch_size: int) -> list[Inputs]:
    """A split's texts as the model reads them: batches `[B, L]` of like length, shortest first."""
    with evaluating(encoder.model):
        batches, _ = Predictor.of_encoder(encoder).batches(split.texts, batch_size=batch_size)
        return [inputs for _, inputs in batches]
