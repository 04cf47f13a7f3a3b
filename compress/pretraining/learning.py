"""An encoder learns a language: a corpus is arranged, some of its tokens are hidden, an objective is minimized."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from compress.budgets import Budget, Minutes, Tokens
from compress.data.batching import CorpusExamples
from compress.data.corpus import Corpus
from compress.data.inputs import arrange_sentences
from compress.data.masked_batches import MaskingCollator
from compress.data.sentences import hold_out_documents, split_corpus
from compress.data.sequences import hold_out, tokenize_corpus
from compress.encoder import Encoder
from compress.environment import device
from compress.objective import Objective
from compress.pretraining.masked_lm import MaskedLmObjective
from compress.pretraining.plateau import BaseRateGuard, PlateauGuard, UnigramGuard, unigram_entropy
from compress.pretraining.replaced_tokens import ReplacedTokensObjective, find_generator, save_generator
from compress.pretraining.segments import NEXT_SENTENCE, SENTENCE_ORDER, SegmentsObjective
from compress.pretraining.word_vectors import start_from_word_vectors
from compress.processes import is_main
from compress.recipes.stages import Pretrain
from compress.training import Pupil, train

logger = logging.getLogger(__name__)


def pretrain_encoder(pupil: Pupil, corpus: Corpus, stage: Pretrain) -> dict[str, Any]:
    """Pretrain a model on documents; ELECTRA's generator is left beside the history.

    Args:
        pupil: Has the heads that the objective asks for, new perhaps; where it comes from a generator may lie.
        corpus: The documents.
        stage: How.

    Returns:
        Facts for the run's record.
    """
    encoder, seed, place = pupil.encoder, pupil.seed, pupil.place
    examples, held = arrange_corpus(encoder, corpus, stage, seed=seed, store=place.store)
    collate = MaskingCollator(
        encoder.tokenizer, stage.masking, sequences=examples, seed=seed, static=stage.static_copies > 0
    )
    started = {}
    if stage.initial_embeddings == "ppmi-svd":
        started = start_from_word_vectors(encoder, examples, seed=seed)
    objective = build_objective(encoder, stage, seed=seed, before=pupil.before)
    if stage.compile and device() == "cuda":
        encoder.model.base_model.compile()  # the heads run on as many tokens as are hidden, each time others
    guards: list[PlateauGuard] = [UnigramGuard(unigram_entropy(examples, len(encoder.tokenizer)))]
    if stage.generator is not None:
        guards.append(BaseRateGuard(stage.generator.weight))
    outcome = train(
        pupil,
        objective,
        examples=examples,
        holdout=held,
        collate=collate,
        task=None,
        training=stage.training,
        budget=_budget(stage),
        row_tokens=stage.training.max_length if stage.arrangement == "doc-sentences" else None,
        watching=guards,
    )
    if isinstance(objective, ReplacedTokensObjective) and is_main():
        save_generator(objective.generator, place.directory)
    seen = {name: fact for guard in guards for name, fact in guard.facts.items()}
    return {**started, **outcome.facts, **examples.facts, **seen}


def arrange_corpus(
    encoder: Encoder, corpus: Corpus, stage: Pretrain, *, seed: int, store: Path
) -> tuple[CorpusExamples, CorpusExamples]:
    """What is learned, and what is only looked at: of other documents, so that no pair joins both.

    Args:
        encoder: Its tokenizer reads them.
        corpus: The documents.
        stage: Which sentences make an example, and how long it is.
        seed: Of the hold-out and the pairs.
        store: The directory of runs; caches lie in it.
    """
    max_length = stage.training.max_length
    if stage.arrangement is None:
        sequences = tokenize_corpus(corpus, encoder.tokenizer, max_length=max_length, store=store)
        return hold_out(sequences, seed=seed)
    rest, held = hold_out_documents(split_corpus(corpus, encoder.tokenizer, store=store), seed=seed)
    arrange = partial(
        arrange_sentences,
        tokenizer=encoder.tokenizer,
        arrangement=stage.arrangement,
        max_length=max_length,
        seed=seed,
    )
    return arrange(rest, copies=max(1, stage.static_copies)), arrange(held)


def build_objective(encoder: Encoder, stage: Pretrain, *, seed: int, before: Path | None) -> Objective:
    """What a stage minimizes; ELECTRA's brings its generator.

    Args:
        encoder: The model that learns.
        stage: Which objective.
        seed: Of a new generator's weights.
        before: The directory that the model came from, where a generator may lie; None for a new one.
    """
    match stage.objective:
        case "mlm":
            return MaskedLmObjective()
        case "nsp":
            return SegmentsObjective(NEXT_SENTENCE)
        case "sop":
            return SegmentsObjective(SENTENCE_ORDER)
        case "rtd":
            if stage.generator is None:
                raise ValueError("rtd has a generator")
            generator = find_generator(encoder.model, before, share=stage.generator.share, seed=seed)
            return ReplacedTokensObjective(generator, weight=stage.generator.weight)


def _budget(stage: Pretrain) -> Budget | None:
    if stage.max_minutes is not None:
        return Minutes(stage.max_minutes)
    return Tokens(stage.max_tokens) if stage.max_tokens is not None else None
