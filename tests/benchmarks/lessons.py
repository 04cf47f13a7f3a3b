"""A few steps of pretraining through the product's own `train`, watched: how long they took, and for what.

Plan, tokenizer, model, examples, masks, objective, optimizer, precision and the Trainer's loop are those of
`compress pretrain`. Nothing is looked at and nothing saved meanwhile: the budget is far larger than what is taken of it.
"""

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

from compress.budgets import Minutes
from compress.data.batching import Examples, Rows, bucket_by_length
from compress.data.corpus import resolve_corpus
from compress.data.masked_batches import MaskingCollator
from compress.environment import device
from compress.heads import build_learner
from compress.losses.masked_lm import IGNORED_LABEL
from compress.memory import peak_bytes
from compress.planning import Options, Schooling
from compress.pretraining.learning import arrange_corpus, build_objective
from compress.pretraining.replaced_tokens import ReplacedTokensObjective
from compress.pretraining.tokenizer import train_tokenizer
from compress.recipes.stages import Pretrain
from compress.schooling import plan_first_pretraining
from compress.steps import Workplace
from compress.training import Place, Pupil, train
from tests.benchmarks.arithmetic import Shape, Step, synchronize
from tests.benchmarks.sessions import Take

SEED = 1
MINUTES_NEVER_SPENT = 1e6
PHASES = ("data", "forward", "backward", "optimizer", "rest")
"""`backward` has the clipping of gradients in it, `rest` what the Trainer does between: it counts, logs, schedules."""


@dataclass(frozen=True)
class Lesson:
    """Which model learns, on what.

    Attributes:
        model: A teacher's name or file.
        length: In tokens.
        batch: Examples a step and device; None is the recipe's.
        budget: Whose recipe: `small` or `published`.
        corpus: The documents.
        store: Where tokenizer and tokens are cached.
        warmup: Steps whose times do not count.
        steps: Those that count.
    """

    model: str
    length: int
    batch: int | None
    budget: str
    corpus: str
    store: Path
    warmup: int
    steps: int


@dataclass(frozen=True)
class Learned:
    """What was seen of the steps that count.

    Attributes:
        seconds: All of them together.
        tokens: That were read, padding not counted.
        computed: Tokens that were computed: padding counted.
        flops: Of the products.
        phases: Seconds of each, where they were asked for: the device is then waited for at each one's end.
    """

    seconds: float
    tokens: int
    computed: int
    flops: int
    phases: dict[str, float]


class Watch(TrainerCallback):
    """Notes the time and the batches of so many steps, then ends the training.

    Args:
        warmup: Steps that are let pass first.
        steps: That are watched.
        by_phase: Whether each phase is timed, for which the device is waited for.
    """

    def __init__(self, *, warmup: int, steps: int, by_phase: bool) -> None:
        self.warmup = warmup
        self.steps = steps
        self.by_phase = by_phase
        self.seconds = 0.0
        self.phases: dict[str, float] = defaultdict(float)
        self._batches: list[tuple[torch.Size, Tensor, Tensor]] = []
        self._done = 0
        self._last = self._began = 0.0

    @property
    def batches(self) -> list[tuple[Shape, int]]:
        """Each watched batch, and how many of its tokens are no padding."""
        return [(Shape(*size, int(hidden)), int(real)) for size, real, hidden in self._batches]

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        learner = known["model"]
        hooks = [
            learner.register_forward_pre_hook(self._begin_forward, with_kwargs=True),
            learner.register_forward_hook(lambda *_: self._end("forward")),
        ]
        self._unhook = [hook.remove for hook in hooks]

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("data")

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("backward")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("backward")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("optimizer")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("rest")
        self._done += 1
        if self._done == self.warmup:
            synchronize()
            self._began = self._last = time.perf_counter()
        if self._done == self.warmup + self.steps:
            synchronize()
            self.seconds = time.perf_counter() - self._began
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for remove in self._unhook:
            remove()

    def _begin_forward(self, _: Any, args: Any, batch: dict[str, Tensor]) -> None:
        self._end("rest")
        if self._watching:
            mask, labels = batch["attention_mask"], batch["labels"]
            # Sums stay on the device: to read them here would make it wait.
            self._batches.append((mask.shape, mask.sum(), (labels != IGNORED_LABEL).sum()))

    @property
    def _watching(self) -> bool:
        return self.warmup <= self._done < self.warmup + self.steps

    def _end(self, phase: str) -> None:
        """Whatever happened since the last phase's end was this one."""
        if self.by_phase and self._watching:
            synchronize()
            now = time.perf_counter()
            self.phases[phase] += now - self._last
            self._last = now


class OneBatch(Examples):
    """No examples at all, as many as one wants: what is learned is a batch that lies ready.

    Args:
        texts: Of the batch.
        steps: That are taken at the most.
    """

    def __init__(self, texts: int, steps: int) -> None:
        self.lengths = np.ones(texts * steps, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitems__(self, rows: list[int]) -> Rows:
        """Nothing."""
        return Rows({}, {}, rows)


def plan_lesson(lesson: Lesson) -> Pretrain:
    """The first stage of the pretraining that `compress pretrain` would plan."""
    changes = {"max_length": lesson.length, "per_device_train_batch_size": lesson.batch}
    options = Options(training=changes, pretraining=Schooling(budget=lesson.budget))
    workplace = Workplace(lesson.store)
    planned = plan_first_pretraining(lesson.model, lesson.corpus, workplace, seed=SEED, options=options)
    stage = planned.unfold()[0].stage
    if not isinstance(stage, Pretrain):
        raise TypeError(f"{lesson.model} begins with a stage {stage.kind}")
    return stage


def start_lessons(lesson: Lesson) -> Take:
    """A model that learns a few steps a turn: from the loader, or from one batch that lies ready."""
    corpus, stage = resolve_corpus(lesson.corpus), plan_lesson(lesson)
    tokenizer = train_tokenizer(corpus, stage.tokenizer, store=lesson.store)
    encoder = build_learner(stage.new, tokenizer, objective=stage.objective, dropout=stage.dropout, seed=SEED)
    examples, held = arrange_corpus(encoder, corpus, stage, seed=SEED, store=lesson.store)
    collate = MaskingCollator(
        tokenizer, stage.masking, sequences=examples, seed=SEED, static=stage.static_copies > 0
    )
    objective = build_objective(encoder, stage, seed=SEED, before=None)
    generator = objective.generator.config if isinstance(objective, ReplacedTokensObjective) else None
    step = Step(encoder.model.config, stage.objective, generator)
    size = stage.training.per_device_train_batch_size
    batch = {name: value.to(device()) for name, value in collate(_middling_batch(examples, size)).items()}
    if stage.compile and device() == "cuda":
        encoder.model.base_model.compile()
    batches = (lesson.warmup + lesson.steps) * stage.training.gradient_accumulation_steps

    def take(*, fixed: bool = False, by_phase: bool = False) -> Learned:
        watch = Watch(warmup=lesson.warmup, steps=lesson.steps, by_phase=by_phase)
        with tempfile.TemporaryDirectory() as room:
            place = Place(lesson.store, Path(room), Path(room) / "checkpoints")
            train(
                Pupil(encoder, SEED, place),
                objective,
                examples=OneBatch(size, batches) if fixed else examples,
                holdout=held,
                collate=(lambda _: batch) if fixed else collate,
                task=None,
                training=stage.training,
                budget=Minutes(MINUTES_NEVER_SPENT),
                watching=[watch],
            )
        torch.cuda.empty_cache()  # others take their turn on the same device; nothing where there is none
        return _sum_up(watch, step)

    def answer(**wishes: Any) -> Any:
        return describe() if wishes.pop("described", False) else take(**wishes)

    def describe() -> dict[str, Any]:
        training = stage.training
        return {
            "batch": size * training.gradient_accumulation_steps,
            "objective": stage.objective,
            "arrangement": stage.arrangement,
            "parameters": encoder.parameters,
            "vocab_size": len(tokenizer),
            "dtype": "bfloat16" if training.bf16 else "float32",
            "compiled": stage.compile and device() == "cuda",
            "examples": len(examples),
            "peak_memory_mb": round(_peak_bytes() / 1e6),
        }

    return answer


def _middling_batch(examples: Examples, size: int) -> Rows:
    """The whole batch of the first epoch whose number of tokens is the median."""
    batches = bucket_by_length(examples.lengths, batch_size=size, seed=SEED, epoch=0)
    whole = [batch for batch in batches if len(batch) == size] or batches
    lengths = np.asarray(examples.lengths)
    whole.sort(key=lambda batch: int(lengths[batch].sum()))
    return examples.__getitems__(whole[len(whole) // 2])


def _sum_up(watch: Watch, step: Step) -> Learned:
    return Learned(
        seconds=watch.seconds,
        tokens=sum(real for _, real in watch.batches),
        computed=sum(shape.texts * shape.length for shape, _ in watch.batches),
        flops=sum(step.count(shape) for shape, _ in watch.batches),
        phases=dict(watch.phases),
    )


def _peak_bytes() -> int:
    return torch.cuda.max_memory_allocated() if device() == "cuda" else peak_bytes()
