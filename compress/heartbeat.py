"""What training says while it goes on."""

import logging
import time
from typing import Any

from transformers import TrainerCallback

from compress.budgets import Budget

logger = logging.getLogger(__name__)


class Heartbeat(TrainerCallback):
    """A line now and then: step, loss, score on the hold-out, time left.

    Args:
        budget: What is spent, where it is not the steps.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._started = time.monotonic()
        self._from_step = 0
        self._spoken = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note where this process begins."""
        self._started, self._from_step = time.monotonic(), state.global_step

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Say how far it is."""
        logs = logs or {}
        now = time.monotonic()
        if "eval_score" in logs:
            logger.info("  epoch %.3g: %.4f on the hold-out", state.epoch, logs["eval_score"])
        elif "loss" in logs and now - self._spoken > 10:
            done = state.global_step - self._from_step
            if self._budget:
                logger.info(
                    "  step %d in %s at the most, loss %.4f",
                    state.global_step,
                    self._budget,
                    logs["loss"],
                )
            else:
                left = (now - self._started) / max(done, 1) * (state.max_steps - state.global_step)
                logger.info(
                    "  step %d of %d, loss %.4f, at most %s left",
                    state.global_step,
                    state.max_steps,
                    logs["loss"],
                    _clock(left),
                )
            self._spoken = now


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
