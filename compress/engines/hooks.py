"""Milliseconds of a PyTorch model's parts: a clock read before and after each outermost module of a part."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from compress.engines import Inputs, Milliseconds, split_time
from compress.environment import Device
from compress.models.parts import part_of
from compress.runs import Part


def profile_modules(
    model: nn.Module, run: Callable[[Inputs], Any], batches: Sequence[Inputs], *, device: Device
) -> list[Milliseconds]:
    """What each part took, batch by batch.

    What a layer does outside of its parts' modules is `other`: the mask, and ALBERT's second residual sum.

    Args:
        model: Whose modules are hooked; it comes back as it was.
        run: Has the model answer a batch.
        batches: The first is run once more beforehand, which does not count.
        device: Where it runs: before a clock is read, a GPU has to be done.
    """
    run(batches[0])
    profiles = []
    with _timing(model, device) as spent:
        for inputs in batches:
            spent.clear()
            began = _now(device)
            run(inputs)
            profiles.append(split_time(_now(device) - began, spent))
    return profiles


@contextmanager
def _timing(model: nn.Module, device: Device) -> Iterator[dict[Part, float]]:
    """Add up the milliseconds of each part's modules as long as the context lasts."""
    spent: dict[Part, float] = {}
    began: list[float] = []
    handles = []

    def start(*_: Any) -> None:
        began.append(_now(device))

    def stop(part: Part) -> Callable[..., None]:
        def add(*_: Any) -> None:
            spent[part] = spent.get(part, 0.0) + _now(device) - began.pop()

        return add

    for part, module in _outermost(model):
        handles += [module.register_forward_pre_hook(start), module.register_forward_hook(stop(part))]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def _outermost(model: nn.Module) -> list[tuple[Part, nn.Module]]:
    """The modules that are wholly of one part, none within another; one that layers share is listed once."""
    found: list[tuple[Part, nn.Module]] = []
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():  # a module comes before what it holds, a shared one once
        part = part_of(path)
        if part != "other" and module not in inside:
            found.append((part, module))
            inside.update(module.modules())
    return found


def _now(device: Device) -> float:
    """Milliseconds of a clock."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() * 1000
