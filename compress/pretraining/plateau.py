"""The plateau of masked language modelling: a model that guesses by frequency alone, and the guard that says so."""

import logging
from typing import Any

import numpy as np
from transformers import TrainerCallback

from compress.data.batching import CorpusExamples
from compress.data.masking import count_tokens

logger = logging.getLogger(__name__)

MARGIN = 0.25
"""Nats below the entropy: a model that is no better has learned nothing of how words go together."""
LOOKS_GRANTED = 6
"""Looks at the hold-out, of some twenty, before anything is said: every model goes through the plateau."""


def unigram_entropy(examples: CorpusExamples, vocab_size: int) -> float:
    """The entropy of single tokens in nats: the loss of who knows how frequent each is, and nothing else."""
    counts = count_tokens(examples, vocab_size)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


class PlateauGuard(TrainerCallback):
    """Warns where the hold-out's loss stays at the unigram entropy.

    Args:
        entropy: In nats.
    """

    def __init__(self, entropy: float) -> None:
        self.entropy = entropy
        self._looks = 0
        self._loss: float | None = None

    @property
    def stuck(self) -> bool:
        """Whether the last look saw no better loss than frequencies give."""
        return self._loss is not None and self._loss > self.entropy - MARGIN

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        seen = {"holdout_masked_lm": self._loss, "on_the_plateau": self.stuck} if self._loss else {}
        return {"unigram_entropy": round(self.entropy, 4), **seen}

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Compare, and speak where the time for it has come."""
        found = (metrics or {}).get("eval_masked_lm")
        if found is None:
            return
        self._loss = found
        self._looks += 1
        if self._looks == LOOKS_GRANTED:
            self._speak()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare once more."""
        if self._looks != LOOKS_GRANTED:
            self._speak()

    def _speak(self) -> None:
        if self.stuck:
            logger.warning(
                "  the masked language model guesses by frequency alone: its loss is %.2f, the unigram entropy %.2f. "
                "Where that lasts, try a lower --learning-rate, a longer warm-up, or a larger batch.",
                self._loss,
                self.entropy,
            )
