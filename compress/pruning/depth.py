"""Shallower encoders: whole layers go, or, where layers share their weights, passes through them.

Which layers: the last or the first ones, those between evenly spaced ones (Sajjad et al. 2023 compare these), or those
that change their input least (Men et al. 2024).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import InvalidInputError
from compress.models.dimensions import read_dimensions, rebuild
from compress.models.initialization import pick_layers
from compress.pruning.importance import Batch
from compress.recipes.pruning import LayerRule

LAYER = re.compile(r"(?P<before>\b(?:encoder\.layer|albert_layer_groups)\.)(?P<number>\d+)\.")


def passes_are_shared(config: PretrainedConfig) -> bool:
    """Whether a layer is passed several times, so that fewer passes are all that can be had."""
    groups: int = getattr(config, "num_hidden_groups", config.num_hidden_layers)
    return groups < int(config.num_hidden_layers)


def require_layers_left(config: PretrainedConfig, count: int) -> None:
    """Refuse to remove so many layers that none are left, or not a pass for each group of ALBERT's.

    Raises:
        InvalidInputError: So it is.
    """
    least = config.num_hidden_groups if passes_are_shared(config) else 1
    if config.num_hidden_layers - count < least:
        groups = f" in {least} groups, each of which is passed once at the least" if least > 1 else ""
        raise InvalidInputError(
            f"--layers {count} is too much: the model has {config.num_hidden_layers} layers{groups}.",
            f"Remove {config.num_hidden_layers - least} at the most."
            if config.num_hidden_layers > least
            else "Leave the layers as they are.",
        )


def choose_layers(
    depth: int, count: int, rule: LayerRule, influence: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Which layers stay, from 0.

    Args:
        depth: Layers that there are.
        count: Layers that go.
        rule: Which.
        influence: Of each layer, where it decides.
    """
    match rule:
        case "last":
            return tuple(range(depth - count))
        case "first":
            return tuple(range(count, depth))
        case "alternate":
            return pick_layers(depth, depth - count)
        case "importance":
            if influence is None:
                raise ValueError("the influence of layers was not measured")
            weakest = sorted(range(depth), key=lambda layer: (influence[layer], -layer))[:count]
            return tuple(layer for layer in range(depth) if layer not in weakest)


def keep_layers(model: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """The model with these of its layers, in this order; where layers are shared, with so many passes.

    Args:
        model: Left as it is.
        kept: Layers from 0; each once.
    """
    wanted = replace(read_dimensions(model.config), layers=len(kept))
    state = model.state_dict()
    if not passes_are_shared(model.config):
        places = {number: place for place, number in enumerate(kept)}
        named = ((_renumber(name, places), tensor) for name, tensor in state.items())
        state = {name: tensor for name, tensor in named if name is not None}
    return rebuild(model, wanted, state)


def _renumber(name: str, places: dict[int, int]) -> str | None:
    """A tensor's name in the shallower model; None where its layer is gone."""
    found = LAYER.search(name)
    if found is None:
        return name
    place = places.get(int(found["number"]))
    return None if place is None else LAYER.sub(rf"\g<before>{place}.", name, count=1)


@torch.no_grad()
def measure_influence(model: PreTrainedModel, batches: Sequence[Batch]) -> list[float]:
    """How far each layer turns its input: the mean of 1 − cos over tokens, padding left out (Men et al. 2024, eq. 1).

    Args:
        model: In eval mode.
        batches: A classifier's inputs, each `[B, L]`.
    """
    totals: Tensor | float = 0.0
    tokens = 0.0
    for batch in batches:
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
        states = model(**inputs, output_hidden_states=True).hidden_states
        mask = inputs["attention_mask"]
        turned = [
            (1 - torch.cosine_similarity(before, after, dim=-1)).mul(mask).sum()
            for before, after in pairwise(states)
        ]
        totals = totals + torch.stack(turned)
        tokens += float(mask.sum())
    return (torch.as_tensor(totals) / tokens).tolist()
