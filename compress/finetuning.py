"""Fine-tuning: a model learns a task from its labels."""

from pathlib import Path

from torch import Tensor

from compress.data.task_data import TaskData, hold_out
from compress.encoder import Encoder
from compress.losses.task import task_loss
from compress.recipes.stages import Finetune
from compress.training import Batch, Examples, Objective, Outcome, train


class TaskObjective(Objective):
    """The task's own loss and nothing else."""

    def forward(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """One term: cross-entropy, or squared error for a regression."""
        return {"task": task_loss(logits, batch["labels"])}


def finetune_encoder(
    encoder: Encoder, data: TaskData, stage: Finetune, *, seed: int, directory: Path, checkpoints: Path
) -> Outcome:
    """Fine-tune a model in place.

    Args:
        encoder: Its classifier has the task's labels.
        data: The task's examples.
        stage: How.
        seed: Of the hold-out, the batches and the dropout.
        directory: Where the history goes.
        checkpoints: Where to resume from.
    """
    rest, held = hold_out(data.train, seed=seed)
    if stage.select_on == "validation":
        rest, held = data.train, data.validation[0]
    return train(
        encoder,
        data.task,
        TaskObjective(),
        examples=Examples(rest, {}),
        holdout=Examples(held, {}),
        training=stage.training,
        seed=seed,
        directory=directory,
        checkpoints=checkpoints,
    )
