"""Moving weights: a pupil, an objective, examples and a schedule go in, the best weights come out.

What to minimize is an `Objective`; which examples share a batch is `data.batching`'s; which moment's weights are kept
is decided on a hold-out: by the task's score where there is a task, else by the loss. Everything that decides the
result is restored from a checkpoint, so a run that was killed and started again ends in the weights of an undisturbed
one.
"""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from torch import Tensor
from transformers import EarlyStoppingCallback, EvalPrediction, PreTrainedModel, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from compress.budgets import Budget
from compress.checkpoints import (
    find_newest,
    prepare_to_resume,
    step_of,
)
from compress.data.batching import Examples, Rows
from compress.encoder import Encoder, require_positions
from compress.environment import device
from compress.errors import CompressError
from compress.evaluation import primary_score
from compress.heartbeat import Heartbeat
from compress.models.attention import attending
from compress.objective import Learner, Objective
from compress.processes import is_main, rank, wait, world_size
from compress.recipes.values import Training
from compress.runs import HISTORY_FILE, write_atomically
from compress.storage import bytes_below
from compress.tasks import Task
from compress.trainer import Trainer

logger = logging.getLogger(__name__)

LOGS_A_RUN = 100
LOOKS_A_RUN = 20
ENDLESS = 10**9
"""Steps: more than any budget is enough for."""
STEPS_BETWEEN_LOOKS = 100
"""How often a run that is judged by its loss looks at the hold-out and leaves a checkpoint, at most, and at its end."""
BYTES_OF_WEIGHT = 4
CHECKPOINTS_AT_A_TIME = 3
"""The newest, the best, and the one that is being written."""

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
    require_positions(encoder.model.config, training.max_length)
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
    with ExitStack() as attentions:
        for model in _find_attending(encoder.model, objective) if training.bf16 else ():
            attentions.enter_context(attending(model))
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


def _find_attending(model: PreTrainedModel, objective: Objective) -> list[PreTrainedModel]:
    """The models that learn, those that `attending` makes faster: the encoder, and what an objective brings."""
    if device() != "cpu":
        return []
    models = [model, *(each for each in objective.children() if isinstance(each, PreTrainedModel))]
    return [each for each in models if each._supports_attention_backend]


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
