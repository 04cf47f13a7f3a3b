"""Moving weights: the one file that knows `transformers.Trainer`.

What to minimize is an `Objective`; which examples share a batch is `data.batching`'s; which moment's weights are kept
is decided on a hold-out. Everything that decides the result is restored from a checkpoint, so a run that was killed
and started again ends in the weights of an undisturbed one.
"""

import json
import logging
import shutil
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, EvalPrediction
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState

from compress.checkpoints import (
    STATE_FILE,
    drop_others,
    find_newest,
    has_stopped,
    mark_complete,
    prepare_to_resume,
    step_of,
)
from compress.data.batching import BucketSampler, EpochDataLoader, TokenizedSet, pad_rows, sort_by_length
from compress.data.task_data import Split, tokenize
from compress.encoder import MODEL_INPUTS, Encoder, longest_input
from compress.environment import device
from compress.errors import CompressError, InvalidInputError
from compress.evaluation import primary_score
from compress.heartbeat import Heartbeat
from compress.processes import is_main, rank, wait, world_size
from compress.recipes.schema import Training
from compress.runs import HISTORY_FILE, write_atomically
from compress.tasks import Task

logger = logging.getLogger(__name__)

LOGS_A_RUN = 100

Batch = dict[str, Tensor]


class Objective(nn.Module, ABC):
    """What training minimizes: weighted terms, and the learned projections that they need. Owns no model."""

    @abstractmethod
    def forward(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms, each a scalar; their sum is the loss.

        Args:
            logits: The model's, `[B, C]`.
            batch: `labels` `[B]` and whatever else the training examples carry, such as `teacher_logits` `[B, C]`.
        """


@dataclass(frozen=True)
class Outcome:
    """What training says of itself; the rate is that of the last process, from step `resumed_from` on."""

    resumed_from: int
    steps: int
    best_step: int
    best_score: float
    samples_per_second: float
    truncated: int

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {
            "resumed_from_step": self.resumed_from,
            "steps": self.steps,
            "best_step": self.best_step,
            "holdout_score": self.best_score,
            "samples_per_second": round(self.samples_per_second, 1),
            "truncated_training_texts": self.truncated,
        }


@dataclass(frozen=True)
class Examples:
    """What a model learns from: a split, and columns beside it (`[N, …]`) that its objective reads."""

    split: Split
    columns: Mapping[str, NDArray[Any]]


class Trainer(transformers.Trainer):
    """`transformers.Trainer` with our batches, our objective, and checkpoints that are whole or ignored."""

    def __init__(
        self,
        *,
        objective: Objective,
        examples: TokenizedSet,
        holdout: TokenizedSet,
        checkpoints: Path,
        **options: Any,
    ) -> None:
        super().__init__(train_dataset=examples, eval_dataset=holdout, **options)
        self.objective: Objective = objective.to(self.args.device)
        self.examples = examples
        self.holdout = holdout
        self.checkpoints = checkpoints
        # Our losses are means over the batch: Trainer divides them by the accumulation steps, not by items.
        self.model_accepts_loss_kwargs = False
        self._terms: defaultdict[str, list[Tensor]] = defaultdict(list)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of like length, this process's share of each."""
        sampler = BucketSampler(
            self.examples.lengths,
            batch_size=self.args.per_device_train_batch_size * self.args.world_size,
            seed=self.args.seed,
            rank=self.args.process_index,
            world_size=self.args.world_size,
        )
        return EpochDataLoader(self.examples, batch_sampler=sampler, collate_fn=self.data_collator)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The hold-out in batches, shortest first; every process scores all of it."""
        batches = sort_by_length(self.holdout.lengths, batch_size=self.args.per_device_eval_batch_size)
        return DataLoader(self.holdout, batch_sampler=batches, collate_fn=self.data_collator)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum of the objective's terms."""
        outputs = model(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        terms = self.objective(outputs.logits.float(), inputs)
        loss = torch.stack(list(terms.values())).sum()
        if model.training:
            for name, term in terms.items():
                self._terms[name].append(term.detach())
            loss = loss * _share_of_batch(len(outputs.logits), loss.device)
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each term's mean since the last log."""
        if "loss" in logs and len(self._terms) > 1:
            logs |= {name: torch.stack(values).mean().item() for name, values in self._terms.items()}
        if "loss" in logs:
            self._terms.clear()
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


def train(
    encoder: Encoder,
    task: Task,
    objective: Objective,
    *,
    examples: Examples,
    holdout: Examples,
    training: Training,
    seed: int,
    directory: Path,
    checkpoints: Path,
) -> Outcome:
    """Train a model in place and leave it at the weights that scored best on the hold-out.

    Args:
        encoder: Its model is moved.
        task: Its primary metric decides on the hold-out.
        objective: What is minimized.
        examples: What is learned.
        holdout: What early stopping and the choice of weights look at.
        training: The schedule; its `bf16` is decided.
        seed: Of batches and dropout.
        directory: Where `history.jsonl` goes.
        checkpoints: Where checkpoints lie; from the newest whole one training resumes.

    Raises:
        InvalidInputError: The model has no positions for so many tokens.
        CompressError: The loss left the finite numbers.
    """
    _require_positions(encoder, training)
    train_set, cut = _encode(examples, encoder, max_length=training.max_length)
    eval_set, _ = _encode(holdout, encoder, max_length=training.max_length)
    trainer = Trainer(
        objective=objective,
        checkpoints=checkpoints,
        examples=train_set,
        holdout=eval_set,
        model=encoder.model,
        args=_arguments(training, seed=seed, checkpoints=checkpoints, rows=len(train_set)),
        data_collator=partial(pad_rows, tokenizer=encoder.tokenizer),
        compute_metrics=lambda prediction: _score_holdout(task, prediction),
        callbacks=[EarlyStoppingCallback(training.early_stopping_patience), Heartbeat()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if is_main():
        prepare_to_resume(checkpoints)
    wait()
    newest = find_newest(checkpoints)
    if newest:
        logger.info("  resuming from %s", newest.name)
    transformers.set_seed(seed + rank())  # dropout differs between processes; batches do not ask it
    rate = trainer.go_on(newest)
    _require_finite(trainer.state.log_history)
    if is_main():
        _write_history(directory / HISTORY_FILE, trainer.state.log_history)
    encoder.model.train(False)
    return Outcome(
        resumed_from=step_of(newest) if newest else 0,
        steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step or trainer.state.global_step,
        best_score=float(trainer.state.best_metric or 0.0),
        samples_per_second=rate,
        truncated=cut,
    )


def steps_of(training: Training, rows: int, *, processes: int) -> int:
    """The number of optimizer steps that a schedule asks for on so many examples."""
    if training.max_steps > 0:
        return training.max_steps
    batches = -(-rows // (training.per_device_train_batch_size * processes))
    updates = -(-batches // training.gradient_accumulation_steps)
    return int(np.ceil(training.num_train_epochs * updates))


def _arguments(
    training: Training, *, seed: int, checkpoints: Path, rows: int
) -> transformers.TrainingArguments:
    fields = training.model_dump(exclude={"max_length", "early_stopping_patience", "bf16"})
    return transformers.TrainingArguments(
        output_dir=str(checkpoints.resolve()),
        **fields,
        bf16=bool(training.bf16),
        per_device_eval_batch_size=64,
        seed=seed,
        use_cpu=device() == "cpu",
        ddp_find_unused_parameters=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, steps_of(training, rows, processes=world_size()) // LOGS_A_RUN),
        logging_nan_inf_filter=False,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )


def _require_positions(encoder: Encoder, training: Training) -> None:
    longest = longest_input(encoder.model.config)
    if training.max_length > longest:
        raise InvalidInputError(
            f"The model takes at most {longest} tokens, not {training.max_length}.",
            f"Cut texts earlier: --max-length {longest}",
        )


def _encode(examples: Examples, encoder: Encoder, *, max_length: int) -> tuple[TokenizedSet, int]:
    encoded, cut = tokenize(examples.split.texts, encoder.tokenizer, max_length=max_length)
    labels = examples.split.labels
    precise = labels.dtype == np.int64
    columns = {"labels": labels if precise else labels.astype(np.float32), **examples.columns}
    return TokenizedSet(encoded, columns), cut


def _score_holdout(task: Task, prediction: EvalPrediction) -> dict[str, float]:
    return {
        "score": primary_score(task, np.asarray(prediction.predictions), np.asarray(prediction.label_ids))
    }


def _share_of_batch(examples: int, where: torch.device) -> Tensor | float:
    """What this process's mean must be weighted with, so that the mean over processes is that over the batch.

    Gradients are averaged over processes; where a last batch does not divide evenly, so would its examples not be.
    """
    if world_size() == 1:
        return 1.0
    count = torch.tensor(float(examples), device=where)
    total = count.clone()
    torch.distributed.all_reduce(total)
    return count * world_size() / total


def _require_finite(history: list[dict[str, float]]) -> None:
    for entry in history:
        if "loss" in entry and not np.isfinite(entry["loss"]):
            raise CompressError(
                f"The loss was {entry['loss']} at step {entry['step']:.0f}: training diverged.",
                "Lower --learning-rate, or train without bf16 (--no-bf16).",
            )


def _write_history(file: Path, history: list[dict[str, float]]) -> None:
    kept = [entry for entry in history if "loss" in entry or "eval_loss" in entry]
    write_atomically(file, "".join(json.dumps(entry) + "\n" for entry in kept))
