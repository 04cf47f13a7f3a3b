"""The task's own loss, on gold labels."""

from torch import Tensor
from torch.nn import functional


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy for class indices, mean squared error for targets.

    Args:
        logits: `[B, C]`, C = 1 for a regression.
        labels: `[B]`; integers are class indices, floating-point numbers targets.

    Returns:
        A scalar, the mean over the batch.
    """
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels)
    return functional.cross_entropy(logits, labels)
