"""Plateaus of pretraining: losses of who knows how frequent things are and nothing else, and the guards that say so."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from transformers import TrainerCallback

from compress.data.batching import CorpusExamples
from compress.data.masking import count_tokens

logger = logging.getLogger(__name__)

MARGIN = 0.25
"""Nats below the unigram entropy: a model that is no better has learned nothing of how words go together."""
SHARE = 0.9
"""Of the base rate's entropy: a discriminator whose loss is no smaller finds hardly any (at 0.94 electra-mini found one in a hundred)."""
LOOKS_GRANTED = 6
"""Looks at the hold-out, of some twenty, before anything is said: every model goes through the plateau."""


def unigram_entropy(examples: CorpusExamples, vocab_size: int) -> float:
    """The entropy of single tokens in nats: the loss of who knows how frequent each is, and nothing else."""
    counts = count_tokens(examples, vocab_size)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def base_rate_entropy(share: float) -> float:
    """The entropy of a yes or no in nats: the loss of who knows how often the answer is yes, and nothing else.

    Args:
        share: Of yes.
    """
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)


class PlateauGuard(TrainerCallback, ABC):
    """Warns where a term of the hold-out's loss stays at what frequencies alone give."""

    term: ClassVar[str]
    """The name of its metric on the hold-out."""

    def __init__(self) -> None:
        self._looks = 0
        self._seen: Mapping[str, float] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return self._tell(self._seen) if self._seen else {}

    @abstractmethod
    def _is_stuck(self, seen: Mapping[str, float]) -> bool:
        """Whether a look saw no better loss than frequencies give."""

    @abstractmethod
    def _tell(self, seen: Mapping[str, float]) -> dict[str, Any]:
        """What a look saw, for the record."""

    @abstractmethod
    def _complain(self, seen: Mapping[str, float]) -> str:
        """What is wrong, and what to try."""

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Compare, and speak where the time for it has come."""
        if not metrics or self.term not in metrics:
            return
        self._seen = metrics
        self._looks += 1
        if self._looks == LOOKS_GRANTED:
            self._speak()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare once more."""
        if self._looks != LOOKS_GRANTED:
            self._speak()

    def _speak(self) -> None:
        if self._seen and self._is_stuck(self._seen):
            logger.warning("  %s", self._complain(self._seen))


class UnigramGuard(PlateauGuard):
    """Warns where masked language modelling stays at the unigram entropy.

    Args:
        entropy: In nats.
    """

    term = "eval_masked_lm"

    def __init__(self, entropy: float) -> None:
        super().__init__()
        self.entropy = entropy

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run: the entropy at least."""
        return {"unigram_entropy": round(self.entropy, 4), **super().facts}

    def _is_stuck(self, seen: Mapping[str, float]) -> bool:
        return seen[self.term] > self.entropy - MARGIN

    def _tell(self, seen: Mapping[str, float]) -> dict[str, Any]:
        return {"holdout_masked_lm": seen[self.term], "on_the_plateau": self._is_stuck(seen)}

    def _complain(self, seen: Mapping[str, float]) -> str:
        return (
            f"the masked language model guesses by frequency alone: its loss is {seen[self.term]:.2f}, the unigram "
            f"entropy {self.entropy:.2f}. Where that lasts, try a lower --learning-rate, a longer warm-up, or a larger batch."
        )


class BaseRateGuard(PlateauGuard):
    """Warns where replaced token detection stays at the entropy of the share of replaced tokens.

    Args:
        weight: λ, which the hold-out's term is multiplied with.
    """

    term = "eval_replaced_tokens"

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def _is_stuck(self, seen: Mapping[str, float]) -> bool:
        return self._loss(seen) > SHARE * self._entropy(seen) > 0

    def _tell(self, seen: Mapping[str, float]) -> dict[str, Any]:
        return {
            "base_rate_entropy": round(self._entropy(seen), 4),
            "holdout_replaced_tokens": round(self._loss(seen), 4),
            "discriminator_on_the_plateau": self._is_stuck(seen),
        }

    def _complain(self, seen: Mapping[str, float]) -> str:
        return (
            f"the discriminator tells replaced tokens by their share alone: its loss is {self._loss(seen):.3f}, the entropy "
            f"of that share {self._entropy(seen):.3f}. Where that lasts, try a lower --learning-rate or a longer warm-up."
        )

    def _loss(self, seen: Mapping[str, float]) -> float:
        return seen[self.term] / self.weight

    def _entropy(self, seen: Mapping[str, float]) -> float:
        return base_rate_entropy(seen[f"{self.term}_share"])
