"""A teacher at work beside its student: frozen, without dropout, and no deeper than the terms look."""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.distillation.capture import ATTENTION, Needs, States, read_states
from compress.distillation.objective import Comparison, deepest_layer, teacher_needs
from compress.encoder import load_config
from compress.environment import device
from compress.heads import load_base, load_masked_lm
from compress.objective import Batch

KNOWN = frozenset({"bert", "roberta", "electra", "albert"})
"""Model types whose first layers say what they say in the whole model, and in which all vectors are H wide."""


class FrozenTeacher:
    """Says what a teacher thinks of a batch's tokens.

    In eval mode and without gradients: under `no_grad`, not `inference_mode`, whose tensors no loss may save for its
    backward pass.

    Args:
        model: Frozen from now on.
        needs: What is asked of it.
        bf16: Whether it computes in bfloat16.
    """

    def __init__(self, model: PreTrainedModel, needs: Needs, *, bf16: bool) -> None:
        model.eval()  # type: ignore[no-untyped-call]
        model.requires_grad_(False)
        if needs.attention:
            model.set_attn_implementation(ATTENTION)
        self.model = nn.Module.to(model, device(), torch.bfloat16 if bf16 else torch.float32)
        self.needs = needs

    def __call__(self, batch: Batch) -> States:
        """What the teacher's layers, and its MLM head, say of a batch."""
        with torch.no_grad(), torch.autocast(device(), enabled=False):
            return read_states(self.model, batch, self.needs)


def load_teacher(
    path: Path, comparisons: tuple[Comparison, ...], *, masked_lm: bool, bf16: bool
) -> FrozenTeacher:
    """Load as much of a teacher as the terms look at.

    Args:
        path: A directory in Hugging Face format.
        comparisons: The terms.
        masked_lm: Whether its MLM head's logits are asked for.
        bf16: Whether it computes in bfloat16.
    """
    needs = teacher_needs(comparisons, answers=masked_lm)
    if needs.logits:
        model = load_masked_lm(path, seed=0, allow_new_head=False).model
    else:
        config = load_config(path)
        # Elsewhere a norm may follow the last layer; and which of its groups a layer of an ALBERT belongs to depends
        # on how many layers there are.
        cuttable = config.model_type in KNOWN and getattr(config, "num_hidden_groups", 1) == 1
        model = load_base(path, layers=max(1, deepest_layer(comparisons)) if cuttable else None).model
    return FrozenTeacher(model, needs, bf16=bf16)
