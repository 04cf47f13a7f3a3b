"""Who judges in a stage of pruning, and the few texts of the task that the judgement is made on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.data.batching import pad_rows
from compress.data.task_data import TaskData, hold_out_rows, tokenize_split
from compress.encoder import MODEL_INPUTS, Encoder, longest_input
from compress.evaluation import align_labels
from compress.pruning.importance import Batch, Importance, at_random, by_magnitude, by_taylor
from compress.recipes.stages import Prune

BATCH = 32
"""Texts of a batch."""


def choose_importance(stage: Prune, texts: Sequence[Batch], *, seed: int) -> Importance:
    """Who judges units.

    Args:
        stage: Says who.
        texts: What a judgement of the loss is made on.
        seed: Of the control.
    """
    match stage.importance:
        case "magnitude":
            return by_magnitude
        case "taylor":
            return by_taylor(texts)
        case "random":
            return at_random(seed)


def draw_texts(stage: Prune, encoder: Encoder, data: TaskData, *, seed: int) -> list[Batch]:
    """Batches of a task's train split, none of them from the hold-out of that seed; no batch where nobody reads any.

    Args:
        stage: Says how many, and where they are cut.
        encoder: A classifier of the task; labels are matched by name.
        data: The task's examples.
        seed: Of the draw.

    Returns:
        The model's inputs, each `[B, L]`, and its `labels` `[B]`.

    Raises:
        CompressError: The model's labels are not the task's.
    """
    if not stage.reads_texts:
        return []
    config, tokenizer = encoder.model.config, encoder.tokenizer
    rest, _ = hold_out_rows(len(data.train), seed=seed)
    rows = np.random.default_rng(seed).permutation(rest)[: stage.batches * BATCH]
    length = min(stage.max_length, longest_input(config))
    texts = tokenize_split(data.train.select(rows, name="judged"), tokenizer, max_length=length)
    if data.task.labels is not None:
        numbers: dict[Any, Any] = config.id2label or {}
        order = align_labels(tuple(str(numbers[number]) for number in sorted(numbers)), data.task)
        texts.columns = {"labels": np.asarray(order)[texts.columns["labels"]]}
    parts = [list(range(start, min(start + BATCH, len(rows)))) for start in range(0, len(rows), BATCH)]
    padded = [pad_rows(texts.__getitems__(part), tokenizer=tokenizer) for part in parts]
    return [{name: batch[name] for name in (*MODEL_INPUTS, "labels") if name in batch} for batch in padded]
