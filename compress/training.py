"""Moving weights: the one file that knows `transformers.Trainer`.

What to minimize is an `Objective`; which examples share a batch is `data.batching`'s; which moment's weights are kept
is decided on a hold-out: by the task's score where there is a task, else by the loss. Everything that decides the
result is restored from a checkpoint, so a run that was killed and started again ends in the weights of an undisturbed
one.
"""

import copy
import json
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState

from compress.budgets import TICKS, Budget, stretch
from compress.checkpoints import (
    STATE_FILE,
    drop_others,
    find_newest,
    has_stopped,
    mark_complete,
    prepare_to_resume,
    step_of,
)
from compress.data.batching import BucketSampler, Epochal, EpochDataLoader, Examples, Rows, sort_by_length
from compress.encoder import Encoder, longest_input
from compress.environment import device
from compress.errors import CompressError, InvalidInputError
from compress.evaluation import primary_score
from compress.heartbeat import Heartbeat
from compress.objective import Learner, Objective
from compress.processes import is_main, rank, wait, world_size
from compress.recipes.values import Training
from compress.runs import HISTORY_FILE, write_atomically
from compress.storage import bytes_below
from compress.tasks import Task

logger = logging.getLogger(__name__)

LOGS_A_RUN = 100
LOOKS_A_RUN = 20
ENDLESS = 10**9
"""Steps: more than any budget is enough for."""
STEPS_BETWEEN_LOOKS = 100
"""How often a run that is judged by its loss looks at the hold-out and leaves a checkpoint, at most, and at its end."""
MOST_LOADERS = 8
BYTES_OF_WEIGHT = 4
CHECKPOINTS_AT_A_TIME = 3
"""The newest, the best, and the one that is being written."""
WEIGHTS_FILE = "model.safetensors"
OBJECTIVE_FILE = "objective.safetensors"

Collate = Callable[[Rows], dict[str, Tensor]]


@dataclass(frozen=True)
class Outcome:
    """What training says of itself; the rate is that of the last process, from step `resumed_from` on.

    `best` is the hold-out's score at the chosen step, or its loss where that is what was `judged_by`. `tokens` are
    those that were read, padding not counted; they are counted where a language is learned.
    """

    resumed_from: int
    steps: int
    best_step: int
    best: float
    judged_by: str
    samples_per_second: float
    tokens: int

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {
            **({"tokens_read": self.tokens} if self.tokens else {}),
            "resumed_from_step": self.resumed_from,
            "steps": self.steps,
            "best_step": self.best_step,
            f"holdout_{self.judged_by}": self.best,
            "samples_per_second": round(self.samples_per_second, 1),
        }


@dataclass(frozen=True)
class Place:
    """Where a stage works.

    Attributes:
        store: The directory of runs; caches lie in it.
        directory: Where the history goes.
        checkpoints: Where to resume from.
    """

    store: Path
    directory: Path
    checkpoints: Path


@dataclass(frozen=True)
class Pupil:
    """Who learns in a stage, where, and by which draws.

    Attributes:
        encoder: Moved in place.
        seed: Of the hold-out, of what is drawn anew, of batches, masks and dropout.
        place: Where to work.
        before: The directory that the encoder comes from, where an earlier stage has left it.
    """

    encoder: Encoder
    seed: int
    place: Place
    before: Path | None = None


Seen = defaultdict[str, list[tuple[Tensor, Tensor]]]
"""Means and their counts, batch by batch."""


class Trainer(transformers.Trainer):
    """`transformers.Trainer` with our batches, our objective, and checkpoints that are whole or ignored."""

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


def train(
    pupil: Pupil,
    objective: Objective,
    *,
    examples: Examples,
    holdout: Examples,
    collate: Collate,
    task: Task | None,
    training: Training,
    budget: Budget | None = None,
    row_tokens: int | None = None,
    watching: Sequence[TrainerCallback] = (),
) -> Outcome:
    """Train a model in place and leave it at the weights that did best on the hold-out.

    Args:
        pupil: Its model is moved; from the newest whole checkpoint in its place training resumes.
        objective: What is minimized; its projections are moved, too.
        examples: What is learned.
        holdout: What early stopping and the choice of weights look at.
        collate: Makes a batch of rows.
        task: Its primary metric decides on the hold-out, once an epoch; without a task the loss decides.
        training: The schedule; its `bf16` is decided.
        budget: Instead of the schedule's epochs or steps; where it ends, the rate's schedule does.
        row_tokens: Where batches are to have equal tokens: those of a row of a full one; shorter rows are more.
        watching: Are told of what happens.

    Raises:
        InvalidInputError: The model has no positions for so many tokens.
        CompressError: The loss left the finite numbers.
    """
    encoder, seed, place = pupil.encoder, pupil.seed, pupil.place
    _require_positions(encoder, training)
    trainer = Trainer(
        learner=Learner(encoder.model, objective),
        checkpoints=place.checkpoints,
        row_tokens=row_tokens,
        examples=examples,
        holdout=holdout,
        args=_arguments(
            training.model_copy(update={"max_steps": ENDLESS}) if budget else training,
            seed=seed,
            checkpoints=place.checkpoints,
            rows=len(examples),
            scored=task is not None,
        ),
        data_collator=collate,
        compute_metrics=(lambda prediction: _score_holdout(task, prediction)) if task else None,
        callbacks=[
            Heartbeat(budget),
            *([budget] if budget else []),
            *watching,
            *([EarlyStoppingCallback(training.early_stopping_patience)] if task else []),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if is_main():
        prepare_to_resume(place.checkpoints)
    wait()
    newest = find_newest(place.checkpoints)
    if newest:
        logger.info("  resuming from %s", newest.name)
    transformers.set_seed(seed + rank())  # dropout differs between processes; batches do not ask it
    rate = trainer.go_on(newest)
    _require_finite(trainer.state.log_history)
    if is_main():
        _write_history(place.directory / HISTORY_FILE, trainer.state.log_history)
    encoder.model.train(False)
    return Outcome(
        resumed_from=step_of(newest) if newest else 0,
        steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step or trainer.state.global_step,
        best=float(trainer.state.best_metric or 0.0),
        judged_by="score" if task else "loss",
        samples_per_second=rate,
        tokens=trainer.state.num_input_tokens_seen,
    )


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


def room_for(parameters: int, checkpoints: Path) -> int:
    """Bytes that training a model has yet to write: checkpoints (weights, two moments of Adam), and the result."""
    return BYTES_OF_WEIGHT * parameters * (3 * CHECKPOINTS_AT_A_TIME + 1) - bytes_below(checkpoints)


def steps_of(training: Training, rows: int, *, processes: int) -> int:
    """The number of optimizer steps that a schedule asks for on so many examples."""
    if training.max_steps > 0:
        return training.max_steps
    batches = -(-rows // (training.per_device_train_batch_size * processes))
    updates = -(-batches // training.gradient_accumulation_steps)
    return int(np.ceil(training.num_train_epochs * updates))


def _arguments(
    training: Training, *, seed: int, checkpoints: Path, rows: int, scored: bool
) -> transformers.TrainingArguments:
    fields = training.model_dump(exclude={"max_length", "early_stopping_patience", "bf16"})
    steps = steps_of(training, rows, processes=world_size())
    rhythm = "epoch" if scored else "steps"
    stride = max(STEPS_BETWEEN_LOOKS, steps // LOOKS_A_RUN)
    return transformers.TrainingArguments(
        output_dir=str(checkpoints.resolve()),
        **fields,
        bf16=bool(training.bf16),
        per_device_eval_batch_size=64,
        seed=seed,
        use_cpu=device() == "cpu",
        # Terms that look at some layers leave what lies above them, or beside, without a gradient.
        ddp_find_unused_parameters=not scored,
        eval_strategy=rhythm,
        save_strategy=rhythm,
        eval_steps=None if scored else stride,
        save_steps=stride,
        load_best_model_at_end=True,
        metric_for_best_model="score" if scored else "loss",
        greater_is_better=scored,
        prediction_loss_only=not scored,
        include_num_input_tokens_seen="no" if scored else "non_padding",
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, steps // LOGS_A_RUN),
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


def _score_holdout(task: Task, prediction: EvalPrediction) -> dict[str, float]:
    return {
        "score": primary_score(task, np.asarray(prediction.predictions), np.asarray(prediction.label_ids))
    }


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
