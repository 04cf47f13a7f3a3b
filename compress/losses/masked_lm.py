"""Masked language modelling: name the tokens that were hidden."""

from torch import Tensor
from torch.nn import functional

from compress.losses.tokens import mean_over, select_tokens

IGNORED_LABEL = -100
"""`transformers`' sign for a position that is not asked for."""


def masked_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the true tokens, the mean over the masked positions.

    Devlin et al. 2019, "BERT", section 3.1, task 1; DistilBERT's L_mlm. It is the hard sibling of
    `soft_targets.soft_divergence`. The rows asked for, some 15 % of them, are taken before any softmax: the
    vocabulary is wide.

    Args:
        logits: `[B, L, V]`.
        labels: `[B, L]`, the true token where one was masked, else −100.

    Returns:
        A scalar; 0 where nothing was masked.
    """
    asked = labels != IGNORED_LABEL
    rows, tokens = select_tokens(logits, asked), labels[asked]
    return mean_over(functional.cross_entropy(rows, tokens, reduction="sum"), len(tokens))
