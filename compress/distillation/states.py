"""Stages in which a student learns what its teacher's layers say: of documents (general), or of a task's texts."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.batching import pad_rows
from compress.data.corpus import Corpus
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import hold_out, tokenize_corpus
from compress.data.task_data import Split, TaskData, hold_out_rows, tokenize_split
from compress.distillation.learning import learn
from compress.encoder import Encoder
from compress.recipes.stages import General, Intermediate
from compress.training import Collate, Place


def distill_general(
    student: Encoder, teacher: Path, corpus: Corpus, stage: General, *, seed: int, place: Place
) -> dict[str, Any]:
    """Teach a student, in place, what a teacher that was not fine-tuned makes of documents.

    Args:
        student: A base model, or one with an MLM head where the terms ask for logits.
        teacher: The directory of its weights.
        corpus: The documents.
        stage: How.
        seed: Of the hold-out, the batches, the masks and the dropout.
        place: Where to work.

    Returns:
        Facts for the run's record.
    """
    length = stage.training.max_length
    sequences = tokenize_corpus(corpus, student.tokenizer, max_length=length, store=place.store)
    rest, held = hold_out(sequences, seed=seed)
    collate: Collate = partial(pad_rows, tokenizer=student.tokenizer)
    if stage.masking is not None:
        collate = MaskingCollator(student.tokenizer, stage.masking, sequences=sequences, seed=seed)
    facts = learn(
        student, teacher, stage, examples=rest, holdout=held, collate=collate, seed=seed, place=place
    )
    return {**facts, **sequences.facts}


def distill_intermediate(
    student: Encoder,
    teacher: Path,
    data: TaskData,
    texts: Split,
    origin: NDArray[np.int64],
    stage: Intermediate,
    *,
    seed: int,
    place: Place,
) -> dict[str, Any]:
    """Teach a student, in place, what the layers of a fine-tuned teacher make of a task's texts.

    Args:
        student: A base model.
        teacher: The directory of its weights.
        data: The task's examples.
        texts: What is learned: the train split, augmented perhaps.
        origin: For each of the texts the row of the train split that it stems from, `[N]`; those of the hold-out,
            which is the last stage's, are left out.
        stage: How.
        seed: Of the hold-out, the batches and the dropout.
        place: Where to work.

    Returns:
        Facts for the run's record.
    """
    _, held = hold_out_rows(len(data.train), seed=seed)
    watched = data.train.select(held, name="holdout")
    learned = texts.select(np.flatnonzero(~np.isin(origin, held)), name="train")
    if stage.select_on == "validation":
        learned, watched = texts, data.validation[0]
    length = stage.training.max_length
    examples = tokenize_split(learned, student.tokenizer, max_length=length)
    facts = learn(
        student,
        teacher,
        stage,
        examples=examples,
        holdout=tokenize_split(watched, student.tokenizer, max_length=length),
        collate=partial(pad_rows, tokenizer=student.tokenizer),
        seed=seed,
        place=place,
    )
    return {**facts, "truncated_training_texts": examples.truncated}
