"""Stages in which a student learns what its teacher's layers say: of documents (general), or of a task's texts."""

from functools import partial
from pathlib import Path
from typing import Any

from compress.data.batching import pad_rows
from compress.data.corpus import Corpus
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import hold_out, tokenize_corpus
from compress.data.task_data import TaskData
from compress.distillation.augmentation import Augmented
from compress.distillation.learning import learn, learn_texts
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
    texts: Augmented,
    stage: Intermediate,
    *,
    seed: int,
    place: Place,
    before: Path | None = None,
) -> dict[str, Any]:
    """Teach a student, in place, what the layers of a fine-tuned teacher make of a task's texts.

    Args:
        student: A base model.
        teacher: The directory of its weights.
        data: The task's examples.
        texts: The train split, augmented perhaps; what stems from the hold-out, which is the last stage's, is not
            learned.
        stage: How.
        seed: Of the hold-out, the batches and the dropout.
        place: Where to work.
        before: The directory that the student comes from, where a stage has left it.

    Returns:
        Facts for the run's record.
    """
    return learn_texts(student, teacher, stage, data, texts, seed=seed, place=place, before=before)
