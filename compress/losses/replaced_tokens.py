"""Replaced token detection: tell which tokens stand where they were, and which a generator put there."""

from torch import Tensor
from torch.nn import functional

from compress.losses.tokens import mean_over, select_tokens


def replaced_tokens_loss(logits: Tensor, replaced: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of "this token was replaced", the mean over all real tokens.

    Clark et al. 2020, "ELECTRA", section 2: L_disc. It is over every token that is no padding, not over the masked
    ones alone: that is where its data efficiency comes from.

    Args:
        logits: `[B, L]`; positive says replaced.
        replaced: `[B, L]`, true where the token is not the original one.
        mask: `[B, L]`, 1 or true where a token is no padding.

    Returns:
        A scalar.
    """
    rows, labels = select_tokens(logits[..., None], mask)[:, 0], replaced[mask.bool()].to(logits.dtype)
    return mean_over(functional.binary_cross_entropy_with_logits(rows, labels, reduction="sum"), len(labels))
