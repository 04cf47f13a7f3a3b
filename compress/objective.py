"""What training minimizes: weighted terms, the learned projections that they need, and the model beside them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.processes import world_size

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Mean:
    """A term of the loss, weighted; and over how many examples, tokens or masked words its mean was taken."""

    value: Tensor
    count: Tensor | int


@dataclass(frozen=True)
class Judgement:
    """What an objective makes of one batch.

    Attributes:
        terms: By name; the loss is their sum.
        logits: The model's, where a score is made of them.
        measures: By name: shown beside the terms and not minimized, such as an accuracy.
    """

    terms: Mapping[str, Mean]
    logits: Tensor | None
    measures: Mapping[str, Mean] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Weighted terms, and the learned projections that they need. Owns no model: it is handed one."""

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Judgement:
        """Run the model on a batch and judge it; the sum of the terms is the loss.

        Args:
            model: What learns.
            batch: The model's inputs `[B, L]`, and whatever else the training examples carry, such as `labels` `[B]`.
        """


class Learner(nn.Module):
    """A model and its objective as one module, so that optimizer and gradient averaging see all that learns."""

    def __init__(self, encoder: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, **batch: Tensor) -> dict[str, Any]:
        """The loss, the terms that it is the sum of, what is shown beside them, and the logits."""
        judged: Judgement = self.objective(self.encoder, batch)
        shares = [term.value * _share_of_batch(term) for term in judged.terms.values()]
        return {
            "loss": torch.stack(shares).sum(),
            "seen": {name: _detached(mean) for name, mean in {**judged.terms, **judged.measures}.items()},
            "logits": judged.logits,
        }


def _detached(mean: Mean) -> tuple[Tensor, Tensor]:
    """A mean's value and its count, without what they were computed from."""
    value = mean.value.detach()
    return value, torch.as_tensor(mean.count, dtype=torch.float32, device=value.device)


def _share_of_batch(term: Mean) -> Tensor | float:
    """What this process's mean must be weighted with, so that the mean over processes is that over the batch.

    Gradients are averaged over processes; where a batch does not divide evenly, so would its examples not be.
    """
    if world_size() == 1 or not torch.is_grad_enabled():  # every process scores all of the hold-out
        return 1.0
    count = torch.as_tensor(term.count, dtype=torch.float32, device=term.value.device)
    total = count.clone()
    torch.distributed.all_reduce(total)
    return count * world_size() / total.clamp(min=1)  # 0 where no process has a masked word
