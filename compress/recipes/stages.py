"""The stages of a run: each a small frozen recipe, complete enough to be repeated from it alone."""

from typing import Annotated, Literal

from pydantic import Field

from compress.recipes.schema import Frozen, Logits, Student, Training

Selection = Literal["holdout", "validation"]
"""Where early stopping looks: a seeded part of the train split, or (flagged by every report) validation."""


class Finetune(Frozen):
    """A model learns a task from its labels.

    `student` is set where the model is a student built anew; it takes its parent's tokenizer only.
    """

    kind: Literal["finetune"] = "finetune"
    training: Training
    select_on: Selection = "holdout"
    student: Student | None = None


class Distill(Frozen):
    """A student learns a task from a fine-tuned teacher."""

    kind: Literal["distill"] = "distill"
    student: Student
    method: Logits
    training: Training
    select_on: Selection = "holdout"
    allow_weak_teacher: bool = False


class DynamicInt8(Frozen):
    """8-bit weights, one scale an output channel; activations quantized as they come (ONNX Runtime)."""

    kind: Literal["dynamic-int8"] = "dynamic-int8"
    per_channel: bool = True


class Quantize(Frozen):
    """A finished model is rewritten in fewer bits."""

    kind: Literal["quantize"] = "quantize"
    method: DynamicInt8


class Export(Frozen):
    """A finished model is written in another format, its answers unchanged.

    `transformers`: what `transformers` loads without us; layers that share a part get a copy each.
    """

    kind: Literal["export"] = "export"
    format: Literal["transformers"] = "transformers"


Stage = Annotated[Finetune | Distill | Quantize | Export, Field(discriminator="kind")]
