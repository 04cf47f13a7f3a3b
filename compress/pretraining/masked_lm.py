"""Masked language modelling: an encoder learns to guess words that were hidden (Devlin et al. 2018, section 3.1)."""

from torch import Tensor, nn

from compress.encoder import MODEL_INPUTS
from compress.heads import guess_tokens
from compress.losses.masked_lm import IGNORED_LABEL
from compress.losses.task import task_loss
from compress.objective import Batch, Judgement, Mean, Objective


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
