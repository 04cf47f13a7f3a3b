"""Batches with hidden words: drawn anew each epoch, the same for everybody who asks for the same batch."""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from compress.data.batching import CorpusExamples, Rows, pad_rows
from compress.data.masking import count_tokens, mask_batch, mask_each, read_vocabulary
from compress.recipes.methods import Masking


class MaskingCollator:
    """Makes a padded batch of rows and hides some of its tokens; `labels` are the hidden ones, −100 elsewhere.

    What is hidden in an example depends on the seed, the epoch and the example alone: a resumed run sees what an
    undisturbed one would have seen, and several processes what one would have. Only where rare tokens are hidden more
    often it depends on the batch, over which these are drawn, and each process draws over its own share.

    Args:
        tokenizer: Of the model.
        masking: Which tokens are hidden, and how.
        sequences: The corpus, whose tokens are counted where rare ones are hidden more often.
        seed: Of the draws.
        static: Whether an example's masks are the same in all epochs, as in the data that BERT was published with.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        masking: Masking,
        *,
        sequences: CorpusExamples,
        seed: int,
        static: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.masking = masking
        self.seed = seed
        self.static = static
        self.epoch = 0
        self.vocabulary = read_vocabulary(tokenizer)
        smoothed = masking.smoothing is not None
        self.counts = count_tokens(sequences, len(self.vocabulary)) if smoothed else None

    def set_epoch(self, epoch: int) -> None:
        """Choose what is hidden in an epoch."""
        self.epoch = epoch

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """The model's inputs and `labels`, each `[B, L]`, and the columns of the rows."""
        batch = pad_rows(rows, tokenizer=self.tokenizer)
        ids, real = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
        occasion = () if self.static else (self.epoch,)
        if self.counts is None:
            generators = [np.random.default_rng([self.seed, *occasion, number]) for number in rows.numbers]
            shown, labels = mask_each(
                ids, real, self.masking, vocabulary=self.vocabulary, generators=generators
            )
        else:
            # Each example is in one batch of an epoch, so its first one tells batches apart.
            drawn = np.random.default_rng([self.seed, *occasion, *rows.numbers[:1], len(rows.numbers)])
            shown, labels = mask_batch(
                ids, real, self.masking, vocabulary=self.vocabulary, generator=drawn, counts=self.counts
            )
        return {**batch, "input_ids": torch.from_numpy(shown), "labels": torch.from_numpy(labels)}
