"""The stage in which a student learns what its teacher's layers say of documents."""

from functools import partial
from pathlib import Path
from typing import Any

from compress.data.batching import pad_rows
from compress.data.corpus import Corpus
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import hold_out, tokenize_corpus
from compress.distillation.learning import learn
from compress.recipes.stages import General
from compress.training import Collate, Pupil


def distill_general(pupil: Pupil, teacher: Path, corpus: Corpus, stage: General) -> dict[str, Any]:
    """Teach a student what a teacher that was not fine-tuned makes of documents.

    Args:
        pupil: A base model, or one with an MLM head where the terms ask for logits.
        teacher: The directory of its weights.
        corpus: The documents.
        stage: How.

    Returns:
        Facts for the run's record.
    """
    tokenizer, seed = pupil.encoder.tokenizer, pupil.seed
    length, store = stage.training.max_length, pupil.place.store
    sequences = tokenize_corpus(corpus, tokenizer, max_length=length, store=store)
    rest, held = hold_out(sequences, seed=seed)
    collate: Collate = partial(pad_rows, tokenizer=tokenizer)
    if stage.masking is not None:
        collate = MaskingCollator(tokenizer, stage.masking, sequences=sequences, seed=seed)
    facts = learn(pupil, teacher, stage, examples=rest, holdout=held, collate=collate)
    return {**facts, **sequences.facts}
