"""How much a unit matters: a head, a neuron, a coordinate of the hidden states.

An importance looks at a model and gives back a score: a function of one of torch-pruning's groups, which holds all
weights that go when a unit goes. The weights of a layer that is shared are in a group once, for all their uses; their
gradients are summed over them.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch_pruning as tp
from torch import Tensor
from transformers import PreTrainedModel

Score = Callable[[tp.Group], Tensor]
"""A group of N units → N numbers `[N]`; the smallest go first."""
Importance = Callable[[PreTrainedModel], Score]
"""A model → how its groups are scored."""
Batch = Mapping[str, Tensor]


def by_magnitude(_: PreTrainedModel) -> Score:
    """The squared weights of a unit, their mean over the group (Li et al. 2017; Fang et al. 2023)."""
    score: Score = tp.importance.GroupMagnitudeImportance(p=2)
    return score


def by_taylor(batches: Sequence[Batch]) -> Importance:
    """What the loss would change by without the unit, to first order: |Σ w · ∂L/∂w| (Molchanov et al. 2019).

    Args:
        batches: A classifier's inputs, each `[B, L]`, and `labels` `[B]`.
    """

    def prepare(model: PreTrainedModel) -> Score:
        accumulate_gradients(model, batches)
        score: Score = tp.importance.GroupTaylorImportance()
        return score

    return prepare


def at_random(seed: int) -> Importance:
    """The control: a number out of a hat for each unit."""
    generator = torch.Generator().manual_seed(seed)

    def prepare(_: PreTrainedModel) -> Score:
        return lambda group: torch.rand(len(group[0].idxs), generator=generator)

    return prepare


def accumulate_gradients(model: PreTrainedModel, batches: Sequence[Batch]) -> None:
    """Leave in each parameter the mean gradient of the loss, without dropout."""
    model.eval()  # type: ignore[no-untyped-call]
    model.zero_grad()
    for batch in batches:
        loss = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
        (loss / len(batches)).backward()
