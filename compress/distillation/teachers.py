"""A teacher at work beside its student: frozen, without dropout, and no deeper than the terms look."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.distillation.capture import Needs, States, read_states
from compress.distillation.objective import Comparison, deepest_layer, teacher_needs
from compress.encoder import load_config, load_finished
from compress.environment import device
from compress.heads import load_base, load_masked_lm
from compress.models.attention import ATTENTION
from compress.objective import Batch

KNOWN = frozenset({"bert", "roberta", "electra", "albert"})
"""Model types whose first layers say what they say in the whole model, and in which all vectors are H wide."""
Head = Literal["masked_lm", "classifier"]
"""What a teacher answers with beside what its layers say: of each token, or of each text."""


class FrozenTeacher:
    """Says what a teacher thinks of a batch's tokens.

    In eval mode and without gradients: under `no_grad`, not `inference_mode`, whose tensors no loss may save for its
    backward pass.

    Args:
        model: Frozen from now on.
        needs: What is asked of it.
        bf16: Whether it computes in bfloat16.
        order: For each of the task's labels the place of its logit; None leaves the logits as they are.
    """

    def __init__(
        self, model: PreTrainedModel, needs: Needs, *, bf16: bool, order: Sequence[int] | None = None
    ) -> None:
        model.eval()  # type: ignore[no-untyped-call]
        model.requires_grad_(False)
        if needs.attention:
            model.set_attn_implementation(ATTENTION)
        self.model = nn.Module.to(model, device(), torch.bfloat16 if bf16 else torch.float32)
        self.needs = needs
        self.order = order

    def __call__(self, batch: Batch) -> States:
        """What the teacher's layers, and its head, say of a batch."""
        with torch.no_grad(), torch.autocast(device(), enabled=False):
            states = read_states(self.model, batch, self.needs)
        if states.logits is None or self.order is None:
            return states
        return replace(states, logits=states.logits[..., list(self.order)])


def load_teacher(
    path: Path,
    comparisons: tuple[Comparison, ...],
    *,
    head: Head | None,
    bf16: bool,
    order: Sequence[int] | None = None,
) -> FrozenTeacher:
    """Load as much of a teacher as the terms look at.

    Args:
        path: A directory in Hugging Face format.
        comparisons: The terms.
        head: The one whose logits are asked for too, if any.
        bf16: Whether it computes in bfloat16.
        order: For each of the task's labels the place of its logit.
    """
    needs = teacher_needs(comparisons, answers=head is not None)
    if not needs.logits:
        depth = max(1, deepest_layer(comparisons)) if is_cuttable(load_config(path)) else None
        model = load_base(path, layers=depth).model
    elif head == "classifier":
        model = load_finished(path).model
    else:
        model = load_masked_lm(path, seed=0, allow_new_head=False).model
    return FrozenTeacher(model, needs, bf16=bf16, order=order)


def is_cuttable(config: PretrainedConfig) -> bool:
    """Whether a teacher's first layers say what they say in the whole model.

    In models that are not known a norm may follow the last layer; and which of its groups a layer of an ALBERT belongs
    to depends on how many layers there are.
    """
    return config.model_type in KNOWN and getattr(config, "num_hidden_groups", 1) == 1


def runs_to_its_top(config: PretrainedConfig, comparisons: Sequence[Comparison]) -> bool:
    """Whether terms look so deep into a teacher that its answer costs no more than its head."""
    deepest = deepest_layer(comparisons)
    return deepest == config.num_hidden_layers or (deepest > 0 and not is_cuttable(config))
