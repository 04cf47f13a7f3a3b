"""Who is compared: this project's own last stage, TextBrewer's `GeneralDistiller`, and the bare machine.

Each `start_…` loads in a process of its own and returns what takes a turn. Ours is `distill_answers` as the product
calls it, gate, cache, hold-out and checkpoints included. TextBrewer gets what makes it fastest without touching it:
PyTorch's fused attention where no attention is asked for, the fused AdamW, no logging, batches padded to their longest.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.clock import Clock
from tests.benchmarks.materials import SEED, Size, learned, own_texts, texts_of_one_length
from tests.benchmarks.sessions import Take

RATE = 1e-4
WEIGHT_DECAY = 0.01
CLIPPED = 1.0


@dataclass(frozen=True)
class Case:
    """What is compared.

    Attributes:
        name: Of the case.
        inside: Whether hidden states and attention are compared beside the soft labels.
        epochs: Over the texts.
        rounds: Turns of each engine in a session.
        task: Whose own texts are learned; None: texts of one length.
        kept_answers: Whether the teacher's answers may come from an earlier turn; else their making is in the turn.
    """

    name: str
    inside: bool
    epochs: int = 1
    rounds: int = 1
    task: str | None = None
    kept_answers: bool = True


def examples(case: Case, folder: Path, size: Size) -> Any:
    """The task that a case is about."""
    return texts_of_one_length(folder, size) if case.task is None else own_texts(case.task, size)


def start_ours(folder: Path, case: Case, size: Size, bf16: bool) -> Take:
    """This project's last stage, in float32 or at its best: teacher and student in bfloat16."""
    from compress.distillation.answers import TaskTeacher, distill_answers
    from compress.distillation.augmentation import Augmented
    from compress.encoder import load_finished
    from compress.inference import load
    from compress.recipes.resolve import resolve_student
    from compress.recipes.stages import Distill
    from compress.recipes.terms import AttentionTerm, HiddenTerm, SoftTerm
    from compress.recipes.values import Training
    from compress.training import Place, Pupil

    be_quiet()
    inside = (HiddenTerm(), AttentionTerm()) if case.inside else ()
    stage = Distill(
        student=resolve_student("albert-tiny"),
        method="logits",
        terms=(*inside, SoftTerm()),
        training=Training(
            learning_rate=RATE,
            num_train_epochs=case.epochs,
            per_device_train_batch_size=size.batch,
            warmup_steps=0,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIPPED,
            bf16=bf16,
            max_length=size.length,
            early_stopping_patience=case.epochs,
        ),
        allow_weak_teacher=True,
    )
    data = examples(case, folder, size)
    teacher = TaskTeacher(load(folder / "teacher", bf16=bf16), folder / "teacher", SEED)

    def take(*, profiled: bool = False) -> Any:
        student = load_finished(folder / "student")
        with tempfile.TemporaryDirectory() as room:
            here = Path(room)
            store = folder / "store" if case.kept_answers else here
            place = Place(store, here, here / "checkpoints")
            rows = np.arange(len(data.train))
            with Clock(profiled=profiled) as clock:
                texts = Augmented(data.train, rows)
                facts = distill_answers(Pupil(student, SEED, place), [teacher], data, texts, stage)
        return clock.turn(teacher_seconds=facts["teacher_seconds"])

    return take


def start_textbrewer(folder: Path, case: Case, size: Size) -> Take:
    """TextBrewer on the same texts, in float32: it has no other precision on a CPU."""
    import torch
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

    from compress.encoder import load_tokenizer

    be_quiet()
    attention = {"attn_implementation": "eager" if case.inside else "sdpa", "dtype": torch.float32}
    teacher = AutoModelForSequenceClassification.from_pretrained(folder / "teacher", **attention)
    tokenizer = load_tokenizer(folder / "teacher")
    data = examples(case, folder, size)
    asked = {"output_hidden_states": True, "output_attentions": True} if case.inside else {}

    def adapt(batch: Any, outputs: Any) -> dict[str, Any]:
        seen = {"logits": outputs.logits, "inputs_mask": batch["attention_mask"]}
        return seen | (
            {"hidden": outputs.hidden_states, "attention": outputs.attentions} if case.inside else {}
        )

    def take(*, profiled: bool = False) -> Any:
        student = AutoModelForSequenceClassification.from_pretrained(folder / "student", **attention)
        with tempfile.TemporaryDirectory() as room, Clock(profiled=profiled) as clock:
            loader = _shuffled(learned(data).texts, tokenizer, size)
            distiller = GeneralDistiller(
                TrainingConfig(device="cpu", output_dir=room, log_dir=None),
                DistillationConfig(
                    temperature=1,
                    kd_loss_type="ce",
                    hard_label_weight=0,
                    intermediate_matches=_matches(student.config, teacher.config) if case.inside else None,
                ),
                teacher,
                student,
                adapt,
                adapt,
            )
            optimizer = torch.optim.AdamW(
                student.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY, fused=True
            )
            schedule = {"num_warmup_steps": 0, "num_training_steps": case.epochs * len(loader)}
            with distiller:
                distiller.train(
                    optimizer,
                    loader,
                    num_epochs=case.epochs,
                    scheduler_class=get_linear_schedule_with_warmup,
                    scheduler_args=schedule,
                    max_grad_norm=CLIPPED,
                    **asked,
                )
        return clock.turn()

    return take


def _matches(student: Any, teacher: Any) -> list[dict[str, Any]]:
    """Our uniform map in TextBrewer's words: it counts attention from 0, and gives each pair a projection of its own."""
    from compress.distillation.layers import attention_pairs, resolve_map

    pairs = resolve_map(
        "uniform", student_layers=student.num_hidden_layers, teacher_layers=teacher.num_hidden_layers
    )
    hidden = [
        {
            "layer_S": ours,
            "layer_T": theirs,
            "feature": "hidden",
            "loss": "hidden_mse",
            "weight": 1,
            "proj": ["linear", student.hidden_size, teacher.hidden_size],
        }
        for ours, theirs in pairs
    ]
    attention = [
        {
            "layer_S": ours - 1,
            "layer_T": theirs - 1,
            "feature": "attention",
            "loss": "attention_mse",
            "weight": 1,
        }
        for ours, theirs in attention_pairs(pairs)
    ]
    return hidden + attention


def _shuffled(texts: Any, tokenizer: Any, size: Size) -> Any:
    """Batches in random order, each padded to its longest text."""
    import torch
    from torch.utils.data import DataLoader

    from compress.data.task_data import tokenize

    encoded, _ = tokenize(texts, tokenizer, max_length=size.length)
    rows = [{name: encoded[name][row] for name in encoded} for row in range(len(texts))]
    return DataLoader(
        rows,
        batch_size=size.batch,
        shuffle=True,
        generator=torch.Generator().manual_seed(SEED),
        collate_fn=lambda batch: dict(tokenizer.pad(batch, return_tensors="pt")),
    )


def start_augmentation(folder: Path, task: str, size: Size) -> Take:
    """Copies a second of the augmentation, whose candidates an MLM head of the teacher's shape gives."""
    from compress.distillation.augmentation import augmented
    from compress.recipes.methods import Augmentation

    be_quiet()
    texts = own_texts(task, size).train.select(np.arange(size.augmented), name="train")

    def take() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as store:
            made = augmented(
                texts,
                Augmentation(),
                copies=size.copies,
                source=folder / "words",
                seed=SEED,
                store=Path(store),
            )
        return made.facts

    return take


def be_quiet() -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
