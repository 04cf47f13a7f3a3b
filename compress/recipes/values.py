"""The values that recipes are made of, and how weights are moved."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator

Family = Literal["bert", "roberta", "electra", "albert"]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""TOML has types, so `"3"` and `true` are mistakes where a number belongs; so are `inf` and `nan`."""
Share = Annotated[Number, Field(ge=0.0, lt=1.0)]


class Frozen(BaseModel):
    """A value: immutable, and strict about the names of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(Frozen):
    """How weights are moved; names and meanings are `transformers.TrainingArguments`'.

    `bf16` is decided when the run is planned where a recipe leaves it open: on where the processor
    multiplies bfloat16 natively. `warmup_steps` below 1 is a share of all steps. `max_length` is in
    tokens, special ones included.
    """

    learning_rate: Annotated[Number, Field(gt=0)] = 5e-5
    num_train_epochs: Annotated[Number, Field(gt=0)] = 3.0
    max_steps: Annotated[int, Field(strict=True, ge=-1)] = -1
    per_device_train_batch_size: PositiveInt = 32
    gradient_accumulation_steps: PositiveInt = 1
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: Annotated[Number, Field(ge=0)] = 0.06
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.999
    adam_epsilon: Annotated[Number, Field(gt=0)] = 1e-8
    max_grad_norm: Annotated[Number, Field(ge=0)] = 1.0
    bf16: Annotated[bool, Field(strict=True)] | None = None
    max_length: PositiveInt = 128
    early_stopping_patience: PositiveInt = 2

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value == 0:
            raise ValueError("max_steps is 1 or more, or -1 for as many as the epochs have")
        return value

    @property
    def warmup_share(self) -> float:
        """Of the schedule; what is counted in steps where the epochs decide is left as it is."""
        counted = self.warmup_steps >= 1 and self.max_steps > 0
        return self.warmup_steps / self.max_steps if counted else self.warmup_steps


def _only_what_differs(schedules: Mapping[str, Training]) -> dict[str, dict[str, Any]]:
    return {task: training.model_dump(exclude_unset=True) for task, training in schedules.items()}


TrainingFor = Annotated[dict[str, Training], PlainSerializer(_only_what_differs)]
"""By a task's name, what differs there from the usual schedule; what it leaves open is as usual."""


def choose_training(usual: Training, training_for: TrainingFor, task: str) -> Training:
    """The schedule for a task."""
    changes = training_for.get(task, Training())
    return usual.model_copy(update=changes.model_dump(exclude_unset=True))
