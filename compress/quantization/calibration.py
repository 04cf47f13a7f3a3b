"""What a method of quantization may see of a task: parts of its train split, never a split that is reported."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from compress.data.batching import sort_by_length
from compress.data.checking import Texts
from compress.data.task_data import Split, TaskData, hold_out, tokenize
from compress.encoder import Encoder, longest_input, model_inputs
from compress.engines import Inputs
from compress.tasks import Task

CALIBRATION_BATCH = 8
PROBE_TEXTS = 32


@dataclass(frozen=True)
class CalibrationData:
    """Texts to set scales by, and examples to compare scores on.

    Attributes:
        task: Its labels are known.
        train: The task's train split.
        holdout_seed: Of the part that the model's own training held out.
        seed: Of samples.
        reference: Whose score is to be kept, where it is not the model's own: the model before it was trained for fewer
            bits.
    """

    task: Task
    train: Split
    holdout_seed: int
    seed: int
    reference: Encoder | None = None

    @classmethod
    def of(cls, data: TaskData, *, holdout_seed: int, seed: int, reference: Encoder | None = None) -> Self:
        """What of a task's examples may be seen."""
        return cls(data.task, data.train, holdout_seed, seed, reference)

    @cached_property
    def held_out(self) -> Split:
        """What the model was not taught: a drop of its score shows here. Early stopping has looked at it, though."""
        return self._parts[1]

    def sample(self, rows: int) -> Split:
        """Some of the examples that the model was taught, or all where there are not so many; drawn by the seed."""
        learned = self._parts[0]
        drawn = np.random.default_rng(self.seed).permutation(len(learned))[:rows]
        return learned.select(np.sort(drawn), name="calibration")

    def batches(self, encoder: Encoder, *, samples: int) -> list[Inputs]:
        """Some of the texts as the model takes them, those of like length together, padding where they differ."""
        return _pad(self.sample(samples).texts, encoder, batch_size=CALIBRATION_BATCH)

    def probes(self, encoder: Encoder) -> list[Inputs]:
        """Held-out texts to compare logits on: single ones, and batches whose rows differ much in length."""
        texts = self.held_out.texts[:PROBE_TEXTS]
        return [
            *_pad(texts[:2], encoder, batch_size=1),
            *_pad(texts, encoder, batch_size=CALIBRATION_BATCH, sort=False),
        ]

    @cached_property
    def _parts(self) -> tuple[Split, Split]:
        return hold_out(self.train, seed=self.holdout_seed)


def _pad(texts: Texts, encoder: Encoder, *, batch_size: int, sort: bool = True) -> list[Inputs]:
    tokenizer = encoder.tokenizer
    longest = min(tokenizer.model_max_length, longest_input(encoder.model.config))
    encoded, _ = tokenize(texts, tokenizer, max_length=longest)
    names = model_inputs(tokenizer)
    lengths = [len(ids) if sort else 0 for ids in encoded["input_ids"]]  # of equals the order stays
    batches: list[Inputs] = []
    for rows in sort_by_length(lengths, batch_size=batch_size):
        batch = {name: [encoded[name][row] for row in rows] for name in names}
        arrays = tokenizer.pad(batch, return_tensors="np")
        batches.append({name: np.asarray(arrays[name], dtype=np.int64) for name in names})
    return batches
