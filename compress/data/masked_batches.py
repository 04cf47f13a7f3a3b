"""Batches with hidden words: drawn anew each epoch, the same for everybody who asks for the same batch."""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from compress.data.batching import CorpusExamples, Rows, pad_rows
from compress.data.masking import count_tokens, mask_batch, read_vocabulary
from compress.recipes.methods import Masking


class MaskingCollator:
    """Makes a padded batch of rows and hides some of its tokens; `labels` are the hidden ones, −100 elsewhere.

    What is hidden depends on the seed, the epoch and the batch alone, so a resumed run sees what an undisturbed one
    would have seen. Each process masks its own share of a batch.

    Args:
        tokenizer: Of the model.
        masking: Which tokens are hidden, and how.
        sequences: The corpus, whose tokens are counted where rare ones are hidden more often.
        seed: Of the draws.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, masking: Masking, *, sequences: CorpusExamples, seed: int
    ) -> None:
        self.tokenizer = tokenizer
        self.masking = masking
        self.seed = seed
        self.epoch = 0
        self.vocabulary = read_vocabulary(tokenizer)
        smoothed = masking.smoothing is not None
        self.counts = count_tokens(sequences, len(self.vocabulary)) if smoothed else None

    def set_epoch(self, epoch: int) -> None:
        """Choose what is hidden in an epoch."""
        self.epoch = epoch

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """The model's inputs and `labels`, each `[B, L]`."""
        batch = pad_rows(rows, tokenizer=self.tokenizer)
        # Each example is in one batch of an epoch, so its first one tells batches apart.
        generator = np.random.default_rng([self.seed, self.epoch, *rows.numbers[:1], len(rows.numbers)])
        shown, labels = mask_batch(
            batch["input_ids"].numpy(),
            batch["attention_mask"].numpy(),
            self.masking,
            vocabulary=self.vocabulary,
            generator=generator,
            counts=self.counts,
        )
        return {**batch, "input_ids": torch.from_numpy(shown), "labels": torch.from_numpy(labels)}
