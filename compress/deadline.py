"""A budget in minutes: training ends, and its rate has come to its end, when they are spent."""

import time
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from compress.processes import world_size

TICKS = 10_000
"""The steps that a schedule is stretched over, whatever number of steps the minutes are enough for."""
LOGS = 100
LOOKS = 20


class Deadline(TrainerCallback, ExportableState):
    """Ends training after so many minutes of work, however often it was interrupted.

    Looks at the hold-out and checkpoints count as work. The clock is the main process's, for all.

    Args:
        minutes: The budget.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.spent = 0.0
        self._since: float | None = None

    @property
    def fraction(self) -> float:
        """How much of the budget was spent at the end of the last step, 0 to 1."""
        return min(1.0, self.spent / (60 * self.minutes))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The clock goes on from here."""
        self._since = time.monotonic() - self.spent

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read the clock; say when to log, to look at the hold-out, and to stop."""
        before = self.fraction
        self.spent = _of_main(time.monotonic() - (self._since or 0.0))
        if int(self.fraction * LOGS) > int(before * LOGS):
            control.should_log = True
        if int(self.fraction * LOOKS) > int(before * LOOKS):
            control.should_evaluate = control.should_save = True
        control.should_training_stop |= self.fraction >= 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to know."""
        return {"args": {"minutes": self.minutes}, "attributes": {"spent": self.spent}}


def stretch(schedule: LambdaLR, deadline: Any) -> LambdaLR:
    """Let a schedule over `TICKS` steps follow a clock instead of the steps.

    Args:
        schedule: From `transformers.get_scheduler`; changed in place.
        deadline: Gives the `Deadline` that counts; a checkpoint's takes the place of the first.
    """

    def follow(rate: Any) -> Any:
        return lambda _: rate(int(deadline().fraction * TICKS))

    schedule.lr_lambdas = [follow(rate) for rate in schedule.lr_lambdas]
    return schedule


def _of_main(seconds: float) -> float:
    if world_size() == 1:
        return seconds
    shared = torch.tensor([seconds], dtype=torch.float64)
    torch.distributed.broadcast(shared, src=0)
    return float(shared)
