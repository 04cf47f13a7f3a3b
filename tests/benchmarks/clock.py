"""The same clock for every engine: the moments at which an optimizer has stepped, and where a few steps' time went."""

import time
from dataclasses import dataclass, field
from typing import Any

PRODUCTS = frozenset({"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"})
"""The matrix products whose arithmetic PyTorch's profiler counts."""
ATTENTION = "aten::_scaled_dot_product"
"""Fused attention: products and what is between them in one; its arithmetic is not counted."""
PROFILED_STEPS = 2
MOST_NAMED = 8


@dataclass(frozen=True)
class Turn:
    """What one training took.

    Attributes:
        seconds: All of it, with what is done before the first step and after the last.
        step_seconds: From the end of one optimizer step to the end of the next.
        peak_bytes: The most that the process has held so far.
        facts: What the engine says of itself.
        split: Where the time went, where that was asked for.
    """

    seconds: float
    step_seconds: tuple[float, ...]
    peak_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] | None = None


class Clock:
    """Notes when optimizers step, whichever they are, and profiles two steps after the first if asked to."""

    def __init__(self, *, profiled: bool) -> None:
        self.ends: list[float] = []
        self.split: dict[str, Any] | None = None
        self._profiled = profiled

    def __enter__(self) -> "Clock":
        from torch.optim.optimizer import register_optimizer_step_post_hook
        from torch.profiler import ProfilerActivity, profile

        self._profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True)
        self._hook = register_optimizer_step_post_hook(self._note)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._hook.remove()

    def _note(self, *_: object) -> None:
        self.ends.append(time.perf_counter())
        if self._profiled and len(self.ends) == 1:
            self._profile.start()
        if self._profiled and len(self.ends) == 1 + PROFILED_STEPS:
            self._profile.stop()
            self.split = split_time(self._profile.key_averages(), self.ends[-1] - self.ends[0])

    def turn(self, **facts: Any) -> Turn:
        """What was seen."""
        from compress.memory import peak_bytes

        between = tuple(after - before for before, after in zip(self.ends, self.ends[1:], strict=False))
        return Turn(self.seconds, between, peak_bytes(), facts, self.split)


def split_time(operators: Any, seconds: float) -> dict[str, Any]:
    """Which share of some steps' time went into matrix products, how fast these were, and what else took long."""
    spent = {each.key: each.self_cpu_time_total / 1e6 for each in operators if each.key.startswith("aten::")}
    products = sum(spent.get(name, 0.0) for name in PRODUCTS)
    attention = sum(value for name, value in spent.items() if name.startswith(ATTENTION))
    flops = sum(each.flops for each in operators if each.key in PRODUCTS)
    others = {
        name: value
        for name, value in spent.items()
        if name not in PRODUCTS and not name.startswith(ATTENTION)
    }
    named = sorted(others, key=others.__getitem__, reverse=True)[:MOST_NAMED]
    return {
        "seconds_a_step": round(seconds / PROFILED_STEPS, 4),
        "share_in_products": round(products / seconds, 3),
        "share_in_fused_attention": round(attention / seconds, 3),
        "gflop_a_step_in_products": round(flops / PROFILED_STEPS / 1e9, 3),
        "gflops_in_products": round(flops / products / 1e9, 1) if products else 0.0,
        "shares_of_the_rest": {name: round(others[name] / seconds, 3) for name in named},
    }
