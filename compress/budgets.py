"""A budget in minutes or in tokens: training ends, and its rate has come to its end, when it is spent."""

import time
from abc import abstractmethod
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from compress.processes import world_size

TICKS = 10_000
"""The steps that a schedule is stretched over, whatever number of steps the budget is enough for."""
LOGS = 100
LOOKS = 20
"""At the most; a budget of minutes has no more of them than minutes."""


class Budget(TrainerCallback, ExportableState):
    """Ends training when something is spent, however often it was interrupted.

    Attributes:
        whole: The budget.
        spent: Of it, at the end of the last step.
    """

    unit: str

    def __init__(self, whole: float) -> None:
        self.whole = whole
        self.spent = 0.0
        self.looks = LOOKS

    @property
    def fraction(self) -> float:
        """How much of the budget was spent at the end of the last step, 0 to 1."""
        return min(1.0, self.spent / self.whole)

    def __str__(self) -> str:
        return f"{self.whole:,.10g} {self.unit}"

    @abstractmethod
    def measure(self, state: Any) -> float:
        """How much is spent by now."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say when to log, to look at the hold-out, and to stop."""
        before = self.fraction
        self.spent = self.measure(state)
        if int(self.fraction * LOGS) > int(before * LOGS):
            control.should_log = True
        if int(self.fraction * self.looks) > int(before * self.looks):
            control.should_evaluate = control.should_save = True
        control.should_training_stop |= self.fraction >= 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to know."""
        return {"args": {"whole": self.whole}, "attributes": {"spent": self.spent}}


class Minutes(Budget):
    """Minutes of work; looks at the hold-out and checkpoints count. The clock is the main process's, for all."""

    unit = "minutes"

    def __init__(self, whole: float) -> None:
        super().__init__(whole)
        self.looks = max(1, min(LOOKS, int(whole)))
        self._since = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The clock goes on from here."""
        self._since = time.monotonic() - 60 * self.spent

    def measure(self, state: Any) -> float:
        """Minutes since the beginning, interruptions left out."""
        return _of_main(time.monotonic() - self._since) / 60


class Tokens(Budget):
    """Tokens that were read, over all processes, padding not counted."""

    unit = "tokens"

    def measure(self, state: Any) -> float:
        """What `transformers` has counted."""
        return float(state.num_input_tokens_seen)


def stretch(schedule: LambdaLR, budget: Any) -> LambdaLR:
    """Let a schedule over `TICKS` steps follow a budget instead of the steps.

    Args:
        schedule: From `transformers.get_scheduler`; changed in place.
        budget: Gives the `Budget` that counts; a checkpoint's takes the place of the first.
    """

    def follow(rate: Any) -> Any:
        return lambda _: rate(int(budget().fraction * TICKS))

    schedule.lr_lambdas = [follow(rate) for rate in schedule.lr_lambdas]
    return schedule


def _of_main(seconds: float) -> float:
    if world_size() == 1:
        return seconds
    shared = torch.tensor([seconds], dtype=torch.float64)
    torch.distributed.broadcast(shared, src=0)
    return float(shared)
