"""Fine-tuning: a model learns a task from its labels."""

from functools import partial
from typing import Any

from torch import nn

from compress.data.batching import pad_rows
from compress.data.task_data import TaskData, hold_out, tokenize_split
from compress.encoder import MODEL_INPUTS
from compress.losses.task import task_loss
from compress.objective import Batch, Judgement, Mean, Objective
from compress.recipes.stages import Finetune
from compress.training import Pupil, train


class TaskObjective(Objective):
    """The task's own loss and nothing else."""

    def forward(self, model: nn.Module, batch: Batch) -> Judgement:
        """One term: cross-entropy, or squared error for a regression."""
        logits = model(**{name: batch[name] for name in MODEL_INPUTS if name in batch}).logits.float()
        return Judgement({"task": Mean(task_loss(logits, batch["labels"]), len(logits))}, logits)


def finetune_encoder(pupil: Pupil, data: TaskData, stage: Finetune) -> dict[str, Any]:
    """Fine-tune a model.

    Args:
        pupil: Its classifier has the task's labels.
        data: The task's examples.
        stage: How.

    Returns:
        Facts for the run's record.
    """
    tokenizer = pupil.encoder.tokenizer
    rest, held = hold_out(data.train, seed=pupil.seed)
    if stage.select_on == "validation":
        rest, held = data.train, data.validation[0]
    length = stage.training.max_length
    examples = tokenize_split(rest, tokenizer, max_length=length)
    outcome = train(
        pupil,
        TaskObjective(),
        examples=examples,
        holdout=tokenize_split(held, tokenizer, max_length=length),
        collate=partial(pad_rows, tokenizer=tokenizer),
        task=data.task,
        training=stage.training,
    )
    return {**outcome.facts, "truncated_training_texts": examples.truncated}
