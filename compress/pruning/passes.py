"""A removal carried out, pass after pass, and what is to be said of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compress.data.corpus import resolve_corpus
from compress.data.task_data import TaskData
from compress.encoder import Encoder
from compress.errors import InvalidInputError
from compress.pruning.depth import choose_layers, keep_layers, measure_influence, passes_are_shared
from compress.pruning.importance import Batch, Importance
from compress.pruning.judging import choose_importance, draw_texts
from compress.pruning.magnitude import compressed_bytes, sparsity_of, zero_smallest
from compress.pruning.plan import Pass, plan_passes
from compress.pruning.structured import prune_embedding, prune_feed_forward, prune_heads, prune_hidden
from compress.pruning.vocabulary import (
    choose_pieces,
    count_corpus,
    count_pieces,
    prune_vocabulary,
    tokens_changed,
)
from compress.recipes.pruning import Removal
from compress.recipes.stages import Prune

logger = logging.getLogger(__name__)


def prune(encoder: Encoder, stage: Prune, data: TaskData, *, seed: int) -> tuple[Encoder, dict[str, Any]]:
    """Remove parts of a classifier.

    Args:
        encoder: Left as it is.
        stage: What goes, and who judges.
        data: The task's examples: texts of the train split decide where they are asked.
        seed: Of what is drawn.

    Returns:
        The smaller one, in eval mode, and facts for the run's record.

    Raises:
        InvalidInputError: Nothing would go, or nothing would be left, or the model has no such part.
    """
    passes = plan_passes(encoder.model.config, stage.remove)
    facts: dict[str, Any] = {
        "parameters_before": encoder.parameters,
        "removed": "; ".join(each.describe() for each in passes),
    }
    if stage.remove.pieces is not None:
        counts = _count_pieces(stage, data, encoder.tokenizer)
        encoder, more = _trim_vocabulary(encoder, stage.remove.pieces, counts, data)
        facts |= more
    texts = draw_texts(stage, encoder, data, seed=seed)  # by the tokenizer that is left
    importance = choose_importance(stage, texts, seed=seed)
    model = encoder.model
    for each in passes:
        logger.info("  %s", each.describe())
        if each.part == "vocabulary":
            continue  # it went with the tokenizer
        model, more = _carry_out(each, model, stage.remove, importance, texts)
        facts |= more
    return replace(encoder, model=model), facts


def _count_pieces(stage: Prune, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Mapping[int, int]:
    if stage.pieces_from is None:
        return count_pieces(data.train.sentences, tokenizer)
    corpus = resolve_corpus(stage.pieces_from.origin)
    if corpus.fingerprint != stage.pieces_from.fingerprint:
        raise InvalidInputError(
            f"The corpus {corpus.origin} is no longer what it was when this was planned.", "Start again."
        )
    return count_corpus(corpus, tokenizer)


def _trim_vocabulary(
    encoder: Encoder, pieces: int, counts: Mapping[int, int], data: TaskData
) -> tuple[Encoder, dict[str, Any]]:
    """Keep the most used pieces, and tell how many tokens of validation they are too few for."""
    trimmed = prune_vocabulary(encoder, choose_pieces(counts, encoder.tokenizer, keep=pieces))
    seen = [text for split in data.validation for text in split.sentences]
    changed = tokens_changed(seen, encoder.tokenizer, trimmed.tokenizer)
    logger.info("  of the tokens of validation %.2f %% are others now", 100 * changed)
    return trimmed, {"tokens_changed": round(changed, 6)}


def _carry_out(
    step: Pass, model: PreTrainedModel, remove: Removal, importance: Importance, batches: Sequence[Batch]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    after = step.after
    match step.part:
        case "layers":
            return _drop_layers(model, remove, batches)
        case "heads":
            return prune_heads(model, after.heads, importance), {}
        case "ffn":
            return prune_feed_forward(model, after.ffn, importance), {}
        case "hidden":
            return prune_hidden(model, after.hidden, after.heads, importance), {}
        case "embedding" if after.embedding is not None:
            return prune_embedding(model, after.embedding, importance), {}
        case "sparsity":
            return _zero(model, remove.sparsity)
    raise ValueError(f"there is no pass {step.part!r}")


def _drop_layers(
    model: PreTrainedModel, remove: Removal, batches: Sequence[Batch]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Drop layers; of a shared one, passes, which are all alike."""
    depth, rule = model.config.num_hidden_layers, remove.layer_rule
    if passes_are_shared(model.config):
        kept: tuple[int, ...] = tuple(range(depth - remove.layers))
        return keep_layers(model, kept), {"passes_of_shared_layers": len(kept)}
    influence = measure_influence(model, batches) if rule == "importance" else None
    kept = choose_layers(depth, remove.layers, rule, influence)
    facts: dict[str, Any] = {"layers_kept": list(kept)}
    if influence is not None:
        facts["layer_influence"] = [round(each, 6) for each in influence]
    return keep_layers(model, kept), facts


def _zero(model: PreTrainedModel, share: float) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Zero single weights, and measure what that is good for."""
    sparse = zero_smallest(model, share)
    return sparse, {
        "zeros": round(sparsity_of(sparse), 4),
        "compressed_bytes_before": compressed_bytes(model),
        "compressed_bytes": compressed_bytes(sparse),
    }
