"""A removal carried out, pass after pass, and what is to be said of it."""

import logging
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compress.encoder import count_parameters
from compress.pruning.depth import choose_layers, keep_layers, measure_influence, passes_are_shared
from compress.pruning.importance import Batch, Importance
from compress.pruning.magnitude import compressed_bytes, sparsity_of, zero_smallest
from compress.pruning.plan import Pass, plan_passes
from compress.pruning.structured import prune_embedding, prune_feed_forward, prune_heads, prune_hidden
from compress.recipes.pruning import Removal

logger = logging.getLogger(__name__)


def prune(
    model: PreTrainedModel, remove: Removal, importance: Importance, batches: Sequence[Batch] = ()
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Remove parts of a classifier.

    Args:
        model: Left as it is.
        remove: What.
        importance: Who judges units.
        batches: Texts, where they decide which layers go.

    Returns:
        The smaller model, in eval mode, and facts for the run's record.

    Raises:
        InvalidInputError: Nothing would go, or nothing would be left, or the model has no such part.
    """
    passes = plan_passes(model.config, remove)
    facts: dict[str, Any] = {"parameters_before": count_parameters(model)}
    for each in passes:
        logger.info("  %s", each.describe())
        model, more = _carry_out(each, model, remove, importance, batches)
        facts |= more
    return model, facts | {"removed": "; ".join(each.describe() for each in passes)}


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
