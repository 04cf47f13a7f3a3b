"""Stages in which a student learns what its teacher's layers say: of documents (general), or of a task's texts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.batching import Examples, pad_rows
from compress.data.corpus import Corpus
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import hold_out, tokenize_corpus
from compress.data.task_data import Split, TaskData, hold_out_rows, tokenize_split
from compress.distillation.capture import recording
from compress.distillation.objective import Comparison, DistillationObjective, compare_models, student_needs
from compress.distillation.teaching import prepare_lesson
from compress.encoder import Encoder, load_config
from compress.recipes.stages import General, Intermediate
from compress.training import Collate, train

logger = logging.getLogger(__name__)


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
    facts = _match_states(student, teacher, rest, held, stage, collate=collate, seed=seed, place=place)
    return {**facts, "corpus_sequences": len(sequences), "corpus_tokens": int(sequences.lengths.sum())}


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
    collate: Collate = partial(pad_rows, tokenizer=student.tokenizer)
    examples = tokenize_split(learned, student.tokenizer, max_length=length)
    holdout = tokenize_split(watched, student.tokenizer, max_length=length)
    facts = _match_states(student, teacher, examples, holdout, stage, collate=collate, seed=seed, place=place)
    return {**facts, "truncated_training_texts": examples.truncated}


def _match_states(
    student: Encoder,
    teacher: Path,
    examples: Examples,
    holdout: Examples,
    stage: General | Intermediate,
    *,
    collate: Collate,
    seed: int,
    place: Place,
) -> dict[str, Any]:
    theirs = load_config(teacher)
    comparisons = compare_models(stage.terms, student=student.model.config, teacher=theirs)
    log_terms(comparisons)
    masked_lm = isinstance(stage, General) and stage.masking is not None
    lesson = prepare_lesson(
        teacher,
        comparisons,
        examples,
        holdout,
        tokenizer=student.tokenizer,
        training=stage.training,
        masked_lm=masked_lm,
        store=place.store,
        checkpoints=place.checkpoints,
    )
    objective = DistillationObjective(
        comparisons, student=student.model.config, teacher=theirs, teach=lesson.teach, seed=seed
    )
    with recording(student.model, student_needs(comparisons)):
        outcome = train(
            student,
            objective,
            examples=lesson.examples,
            holdout=lesson.holdout,
            collate=collate,
            task=None,
            training=stage.training,
            seed=seed,
            directory=place.directory,
            checkpoints=place.checkpoints,
        )
    terms = {each.name: each.detail for each in comparisons}
    return {**outcome.facts, **lesson.facts, "terms": terms}


def log_terms(comparisons: Sequence[Comparison]) -> None:
    """Say what is compared, a term a line."""
    for each in comparisons:
        logger.info("  %-18s weight %g: %s", each.name, each.term.weight, each.detail)
