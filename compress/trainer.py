"""`transformers.Trainer` as we need it: our batches, our objective, and checkpoints that are whole or ignored."""

import copy
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers.trainer_callback import TrainerState

from compress.budgets import TICKS, Budget, stretch
from compress.checkpoints import STATE_FILE, drop_others, has_stopped, mark_complete
from compress.data.batching import BucketSampler, Epochal, EpochDataLoader, Examples, sort_by_length
from compress.environment import device
from compress.errors import CompressError
from compress.objective import Learner
from compress.processes import is_main, wait, world_size

MOST_LOADERS = 8
WEIGHTS_FILE = "model.safetensors"
OBJECTIVE_FILE = "objective.safetensors"

Seen = defaultdict[str, list[tuple[Tensor, Tensor]]]
"""Means and their counts, batch by batch."""


class Trainer(transformers.Trainer):
    """A training of one learner on examples, judged on a hold-out.

    Args:
        learner: The model and its objective.
        examples: What is learned.
        holdout: What is looked at.
        checkpoints: The directory of checkpoints.
        row_tokens: Of a row of a full batch, where batches are to have equal tokens.
        options: Of `transformers.Trainer`.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        examples: Examples,
        holdout: Examples,
        checkpoints: Path,
        row_tokens: int | None,
        **options: Any,
    ) -> None:
        super().__init__(model=learner, train_dataset=examples, eval_dataset=holdout, **options)
        self.learner = learner
        self.examples = examples
        self.holdout = holdout
        self.checkpoints = checkpoints
        self.row_tokens = row_tokens
        # Our losses are means over the batch: Trainer divides them by the accumulation steps, not by items.
        self.model_accepts_loss_kwargs = False
        self._learned: Seen = defaultdict(list)
        self._held: Seen = defaultdict(list)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """The schedule of the rate: over the steps, or over a budget of something else."""
        if self._find_budget() is None:
            return super().create_scheduler(num_training_steps, optimizer)
        schedule: Any = super().create_scheduler(TICKS, optimizer)
        return stretch(schedule, self._find_budget)

    def _find_budget(self) -> Budget | None:
        return next((each for each in self.callback_handler.callbacks if isinstance(each, Budget)), None)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of like length, this process's share of each."""
        batch = self.args.per_device_train_batch_size * self.args.world_size
        sampler = BucketSampler(
            self.examples.lengths,
            batch_size=batch,
            batch_tokens=None if self.row_tokens is None else batch * self.row_tokens,
            seed=self.args.seed,
            rank=self.args.process_index,
            world_size=self.args.world_size,
            follower=self.data_collator,
        )
        return EpochDataLoader(
            self.examples,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=_count_loaders(),
            pin_memory=device() == "cuda",
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The hold-out in batches, shortest first; every process scores all of it, always under the same masks."""
        batches = sort_by_length(self.holdout.lengths, batch_size=self.args.per_device_eval_batch_size)
        collate = copy.copy(self.data_collator)
        if isinstance(collate, Epochal):  # losses of two epochs are compared
            collate.set_epoch(0)
        return DataLoader(self.holdout, batch_sampler=batches, collate_fn=collate)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum of the objective's terms."""
        outputs = model(**inputs)
        if model.training:
            _note(self._learned, outputs["seen"])
        return outputs["loss"]

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss of a batch of the hold-out; its logits and labels where a score is made of them."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        _note(self._held, outputs["seen"])
        loss = outputs["loss"].detach()
        return (loss, None, None) if prediction_loss_only else (loss, outputs["logits"], inputs["labels"])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each term's mean, and what is shown beside them: since the last log, or over the hold-out."""
        for sign, prefix, seen in (("loss", "", self._learned), ("eval_loss", "eval_", self._held)):
            if sign in logs:
                if len(seen) > 1:
                    logs |= {f"{prefix}{name}": _mean_of(means) for name, means in seen.items()}
                seen.clear()
        super().log(logs, start_time)

    def go_on(self, newest: Path | None) -> float:
        """Train from a checkpoint, or from the start, to the end, and leave the model at its best weights.

        Returns:
            Samples a second; 0 where nothing was left to train.
        """
        if newest and has_stopped(newest):
            self.state = TrainerState.load_from_json(str(newest / STATE_FILE))
            self._load_best_model()
            return 0.0
        result = self.train(resume_from_checkpoint=str(newest) if newest else None)
        return float(result.metrics.get("train_samples_per_second", 0.0))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The model as `save_pretrained` writes it, each shared tensor once; what its objective learns beside it."""
        folder = Path(output_dir or self.checkpoints)
        self.learner.encoder.save_pretrained(folder)
        if self.learner.objective.state_dict():
            save_model(self.learner.objective, str(folder / OBJECTIVE_FILE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        encoder, objective = self.learner.encoder, self.learner.objective
        report = encoder.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=False)
        # A tied tensor is in the file under one of its names.
        lost = set(report.missing_keys) - set(encoder.all_tied_weights_keys)
        if lost or report.unexpected_keys:
            raise CompressError(
                f"{folder} holds other tensors than the model: {', '.join(sorted(lost | set(report.unexpected_keys)))}.",
                "Delete the run's directory and start it again.",
            )
        if objective.state_dict():
            load_model(objective, folder / OBJECTIVE_FILE)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        checkpoint = self.checkpoints / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except BaseException:
            # Half of one only takes room, on a full disk above all.
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise
        wait()  # each process has added its random state
        if is_main():
            mark_complete(checkpoint)
            best = self.state.best_global_step or self.state.global_step
            drop_others(self.checkpoints, keep={self.state.global_step, best})


def _count_loaders() -> int:
    """Processes that make batches beside this one: where a GPU would wait for them. What they make is the same."""
    spare = (os.cpu_count() or 1) // world_size() - 1
    return max(0, min(MOST_LOADERS, spare)) if device() == "cuda" else 0


def _note(seen: Seen, means: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    for name, mean in means.items():
        seen[name].append(mean)


def _mean_of(means: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The mean over all that batches' means were taken over."""
    values, counts = (torch.stack(part) for part in zip(*means, strict=True))
    return float((values * counts).sum() / counts.sum().clamp(min=1))
