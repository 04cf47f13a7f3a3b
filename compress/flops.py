"""Floating-point operations of a forward pass, counted on the architecture; no weight is read."""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PretrainedConfig

from compress.encoder import build_empty


def count_flops(config: PretrainedConfig, *, batch: int, length: int) -> int | None:
    """Operations of one forward pass over a full batch: additions and multiplications of its matrix products.

    Softmax, normalization, activations and look-ups are left out, as is usual: they are few. A layer that is shared
    counts each time it is used. An int8 artefact counts as its architecture does, since quantization
    makes operations cheaper and not fewer.

    Args:
        config: Of the model; a directory of ONNX has one as well.
        batch: Texts.
        length: Tokens of each text, special ones included.

    Returns:
        The number of operations; None where the architecture asks for the values of tensors on its way (DeBERTa does),
        which a model without weights cannot tell.
    """
    model = build_empty(config)
    ids = torch.zeros((batch, length), dtype=torch.long, device="meta")
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            model(input_ids=ids)  # no mask: nothing is padded
    except (NotImplementedError, RuntimeError):
        return None
    return counter.get_total_flops()
