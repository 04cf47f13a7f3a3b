"""Which layers stay in full precision so that a score holds: those that hurt most alone, as few as will do."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from compress.data.task_data import Split
from compress.encoder import Encoder
from compress.engines import Inputs, Logits
from compress.environment import Device
from compress.errors import CompressError
from compress.evaluation import predict_split, primary_score
from compress.inference import Predictor
from compress.parity import evaluating
from compress.quantization.calibration import CalibrationData
from compress.quantization.weights import match_modules

logger = logging.getLogger(__name__)

SENSITIVITY_ROWS = 256
"""How many texts a layer's error is seen on: it is a mean of squares, which settles sooner than a score."""
ROUNDING = 1e-9

Answer = Callable[[Inputs], Logits]
Attempt = Callable[[frozenset[str]], Answer]
"""Modules that stay in full precision → what the rest, quantized, answers."""


@dataclass
class Answering:
    """A function as an engine."""

    run: Answer
    name: str = "trial"
    device: Device = "cpu"


@dataclass(frozen=True)
class Trial:
    """How far a score may fall, and how that is seen.

    Attributes:
        encoder: In fp32, with its tokenizer.
        data: Scores are compared on the part of the train split that was held out.
        max_drop: Of the task's primary score.
    """

    encoder: Encoder
    data: CalibrationData
    max_drop: float

    def score(self, answer: Answer) -> float:
        """The task's primary score of what answers, on the held-out part."""
        split = self.data.held_out
        return primary_score(self.data.task, self._logits(answer, split), split.labels)

    def error(self, answer: Answer) -> float:
        """The root mean square of the differences to the model's logits, on some of the held-out texts."""
        return float(np.sqrt(np.square(self._logits(answer, self._few) - self._expected).mean()))

    @cached_property
    def full_score(self) -> float:
        """What is to be kept: the model's own, or its reference's."""
        return self.score(partial(_answer, self.data.reference or self.encoder))

    @cached_property
    def _few(self) -> Split:
        rows = np.arange(
            min(SENSITIVITY_ROWS, len(self.data.held_out))
        )  # they are in the order of the train split
        return self.data.held_out.select(rows, name="sensitivity")

    @cached_property
    def _expected(self) -> Logits:
        return self._logits(partial(_answer, self.encoder), self._few)

    def _logits(self, answer: Answer, split: Split) -> Logits:
        predictor = Predictor(Answering(answer), self.encoder.tokenizer, self.encoder.model.config)
        return predict_split(predictor, self.data.task, split)[0]


@dataclass(frozen=True)
class Kept:
    """What stays in full precision.

    Attributes:
        modules: By name.
        facts: How that was found, as JSON values.
    """

    modules: frozenset[str]
    facts: Mapping[str, Any]


def choose_kept(
    modules: Sequence[str], attempt: Attempt, *, keep: Sequence[str] = (), trial: Trial | None = None
) -> Kept:
    """What a method is asked to leave as it is, and, where a score has to hold, what hurts it.

    Args:
        modules: That could be kept.
        attempt: Quantizes all but some of them.
        keep: Names; `*` stands for any part of one.
        trial: Where a score has to hold.

    Raises:
        InvalidInputError: A name is of no module.
    """
    always = match_modules(keep, modules)
    if trial is None:
        return Kept(always, {"kept_modules": sorted(always)} if always else {})
    return keep_what_hurts(modules, attempt, trial, always=always)


def keep_what_hurts(
    modules: Sequence[str], attempt: Attempt, trial: Trial, *, always: frozenset[str] = frozenset()
) -> Kept:
    """Keep as few modules as will do for a score to hold, the most sensitive first.

    A module's sensitivity is the error of the logits where it alone is quantized. Modules are kept one after the other,
    in that order, until the score has not fallen further than it may.

    Args:
        modules: That could be kept.
        attempt: Quantizes all but some of them.
        trial: Takes scores and errors.
        always: Are kept in any case.

    Raises:
        CompressError: The score falls too far with every module kept.
    """
    kept, score = always, trial.score(attempt(always))
    errors: dict[str, float] = {}
    if not _holds(score, trial):
        every = frozenset(modules)
        _require_reach(trial.score(attempt(every)), trial)
        errors = {
            module: trial.error(attempt(every - {module})) for module in modules if module not in always
        }
        for module in sorted(errors, key=errors.__getitem__, reverse=True):
            kept |= {module}
            score = trial.score(attempt(kept))
            logger.info("  %s stays in full precision: the score is %.4f", module, score)
            if _holds(score, trial):
                break
        else:
            _require_reach(score, trial)
    facts = {
        "kept_modules": sorted(kept),
        "holdout_rows": len(trial.data.held_out),
        "holdout_score_before": trial.full_score,
        "holdout_score": score,
        "sensitivity": errors,
    }
    return Kept(kept, facts)


def _answer(encoder: Encoder, inputs: Inputs) -> Logits:
    model = encoder.model
    with evaluating(model), torch.no_grad():
        tensors = {name: torch.from_numpy(array).to(model.device) for name, array in inputs.items()}
        return model(**tensors).logits.float().cpu().numpy()  # type: ignore[no-any-return]


def _require_reach(score: float, trial: Trial) -> None:
    """See, before each module is tried alone, that all of them together would do.

    A model that was trained to be rounded may score more in fewer bits; what full precision does not reach is not looked for.
    """
    if not _holds(score, trial):
        raise CompressError(
            f"The score on the held-out part falls from {trial.full_score:.4f} to {score:.4f} with every layer in full "
            f"precision: {trial.max_drop} cannot be kept to.",
            "Train it longer or at another rate, where --recover trained it; or let the score fall further (--max-drop).",
        )


def _holds(score: float, trial: Trial) -> bool:
    return trial.full_score - score <= trial.max_drop + ROUNDING
