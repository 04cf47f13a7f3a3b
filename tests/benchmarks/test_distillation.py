"""Samples a second of distillation: answers cached and batches of like length, over padding to 128 without a cache.

Ours is the product's own path, with everything that it does beside: the gate, the building of the cache, the hold-out
after each epoch, checkpoints. The other one is the plain loop that one would write: the teacher answers each batch anew,
every text is padded to 128 tokens. Both have the same models, examples, batch size, precision, optimizer and threads.
Rounds alternate in a process of its own for each session; the result is the median of the sessions' ratios.

    make benchmark        SST-2 with COMPRESS_GLUE, else the sample task; the figures go to results/distillation.json
"""

import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

TEXTS = 2048
EPOCHS = 3
PLAIN_STEPS = 16
ROUNDS = 2
SESSIONS = 3
LENGTH = 128
RESULTS = Path(__file__).parent / "results" / "distillation.json"


def prepare():
    """Teacher, its directory, the task's data cut to `TEXTS` examples, and the student's recipe."""
    from compress.data.task_data import TaskData, load_task_data
    from compress.encoder import load_encoder, save_encoder
    from compress.inference import Predictor
    from compress.planning import decide_training
    from compress.recipes.resolve import resolve_student
    from compress.recipes.stages import Distill
    from compress.sources import resolve_model
    from compress.tasks import resolve_task

    data = load_task_data(resolve_task("sst2" if os.environ.get("COMPRESS_GLUE") else "sample"))
    rows = np.sort(np.random.default_rng(0).permutation(len(data.train))[:TEXTS])
    data = TaskData(data.task, data.train.select(rows, name="train"), data.validation)
    source = Path(tempfile.mkdtemp()) / "teacher"
    encoder = load_encoder(resolve_model("minilm-l6", store=Path("none")).path, data.task, seed=0)
    save_encoder(encoder, source, max_length=LENGTH)
    student = resolve_student("albert-tiny")
    changes = {"num_train_epochs": EPOCHS, "early_stopping_patience": EPOCHS}
    stage = Distill(
        student=student,
        method="logits",
        terms=student.distill.logits.terms,
        training=decide_training(student.training, changes),
        allow_weak_teacher=True,
    )
    return Predictor.of_encoder(encoder), source, data, stage


def cached_and_bucketed(teacher, source, data, stage) -> float:
    """Samples a second of the product's own path, from an empty cache."""
    from compress.distillation.answers import TaskTeacher, distill_answers
    from compress.distillation.states import Place
    from compress.encoder import build_student

    student = build_student(stage.student, teacher.tokenizer, data.task, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        before = time.monotonic()
        facts = distill_answers(
            student,
            [TaskTeacher(teacher, source, seed=0)],
            data,
            data.train,
            np.arange(len(data.train)),
            stage,
            seed=0,
            place=Place(store=root, directory=root, checkpoints=root / "checkpoints"),
        )
        seconds = time.monotonic() - before
    return facts["steps"] * stage.training.per_device_train_batch_size / seconds


def padded_without_cache(teacher, source, data, stage) -> float:
    """Samples a second of a plain loop over batches in the order of the file."""
    import torch

    from compress.encoder import build_student, model_inputs
    from compress.losses.soft_targets import soft_cross_entropy

    model = build_student(stage.student, teacher.tokenizer, data.task, seed=0).model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.training.learning_rate)
    names = model_inputs(teacher.tokenizer)
    size = stage.training.per_device_train_batch_size
    before = time.monotonic()
    for step in range(PLAIN_STEPS):
        texts = data.train.texts[step * size : (step + 1) * size]
        batch = teacher.tokenizer(
            texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        inputs = {name: batch[name] for name in names}
        answers = torch.from_numpy(teacher.engine.run({name: batch[name].numpy() for name in names}))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(stage.training.bf16)):
            logits = model(**inputs).logits
        loss = soft_cross_entropy(logits.float(), answers, temperature=stage.terms[0].temperature)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return PLAIN_STEPS * size / (time.monotonic() - before)


def session(results) -> None:
    """Alternating rounds in a fresh process: pairs of samples a second, ours and the plain loop's; and where."""
    from transformers.utils.logging import disable_progress_bar

    from compress.environment import describe

    disable_progress_bar()
    given = prepare()
    rounds = [(cached_and_bucketed(*given), padded_without_cache(*given)) for _ in range(ROUNDS)]
    results.put((rounds, describe().model_dump(mode="json")))


@pytest.mark.benchmark
def test_cached_and_bucketed_over_padded_without_cache():
    context = multiprocessing.get_context("spawn")
    sessions = []
    for _ in range(SESSIONS):
        results = context.Queue()
        process = context.Process(target=session, args=(results,))
        process.start()
        rounds, environment = results.get()
        sessions.append(rounds)
        process.join()
    ratios = [float(np.median([ours / plain for ours, plain in rounds])) for rounds in sessions]
    outcome = {
        "what": "samples a second: cached, length-bucketed / padded to 128, no cache",
        "task": "sst2" if os.environ.get("COMPRESS_GLUE") else "sample",
        "texts": TEXTS,
        "epochs": EPOCHS,
        "ratio": {"median": float(np.median(ratios)), "low": min(ratios), "high": max(ratios)},
        "samples_per_second": [
            [[round(value, 1) for value in pair] for pair in rounds] for rounds in sessions
        ],
        "environment": environment,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n")
    print(json.dumps(outcome["ratio"]))  # noqa: T201
    assert min(ratios) > 5  # 11.0 to 11.8 on two cores of an AMD EPYC
