"""Masked language modelling: an encoder learns to guess words that were hidden (Devlin et al. 2018, section 3.1)."""

from typing import Any

from torch import Tensor, nn

from compress.data.corpus import Corpus
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import hold_out, tokenize_corpus
from compress.encoder import MODEL_INPUTS, Encoder
from compress.heads import guess_tokens
from compress.losses.masked_lm import IGNORED_LABEL
from compress.losses.task import task_loss
from compress.objective import Batch, Judgement, Mean, Objective
from compress.recipes.stages import Pretrain
from compress.training import Place, train


class MaskedLmObjective(Objective):
    """Cross-entropy of the hidden tokens; the head runs on them alone, for its table is as dear as the encoder."""

    def forward(self, model: nn.Module, batch: Batch) -> Judgement:
        """One term, the mean over the hidden tokens."""
        inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
        hidden = model.base_model(**inputs).last_hidden_state  # type: ignore[operator]
        return judge_guesses(model, hidden, batch["labels"])


def judge_guesses(model: nn.Module, hidden: Tensor, labels: Tensor) -> Judgement:
    """What the MLM head makes of the hidden words, and of them alone.

    Args:
        model: Has the head.
        hidden: The last hidden states, `[B, L, H]`.
        labels: The hidden words, −100 elsewhere, `[B, L]`.

    Returns:
        One term, the mean over the hidden words; and the share that is guessed rightly.
    """
    asked = labels != IGNORED_LABEL
    logits, words = guess_tokens(model, hidden[asked]).float(), labels[asked]
    right = (logits.argmax(dim=-1) == words).float().mean()
    return Judgement(
        {"masked_lm": Mean(task_loss(logits, words), len(words))},
        None,
        {"masked_lm_accuracy": Mean(right, len(words))},
    )


def pretrain_encoder(
    encoder: Encoder, corpus: Corpus, stage: Pretrain, *, seed: int, place: Place
) -> dict[str, Any]:
    """Go on pretraining a model, in place, on documents.

    Args:
        encoder: Has a head that guesses hidden tokens, new perhaps.
        corpus: The documents.
        stage: How.
        seed: Of the hold-out, the batches, the masks and the dropout.
        place: Where to work.

    Returns:
        Facts for the run's record.
    """
    sequences = tokenize_corpus(
        corpus, encoder.tokenizer, max_length=stage.training.max_length, store=place.store
    )
    rest, held = hold_out(sequences, seed=seed)
    outcome = train(
        encoder,
        MaskedLmObjective(),
        examples=rest,
        holdout=held,
        collate=MaskingCollator(encoder.tokenizer, stage.masking, sequences=sequences, seed=seed),
        task=None,
        training=stage.training,
        seed=seed,
        place=place,
    )
    return {**outcome.facts, **sequences.facts}
