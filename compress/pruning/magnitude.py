"""Sparser matrices: the smallest single weights become zeros (Han et al. 2015).

The file is as large as before and no kernel here computes faster; what gets smaller is the file once it is compressed,
for an archive or a download. That is what is measured.
"""

import zlib
from copy import deepcopy

import torch
from torch import Tensor
from transformers import PreTrainedModel

LEVEL = 6
"""Of zlib: what gzip and zip take unless told otherwise."""


@torch.no_grad()
def zero_smallest(model: PreTrainedModel, share: float) -> PreTrainedModel:
    """Zero a share of the weights of each matrix of the encoder, tables among them; norms, biases and the head stay.

    Args:
        model: Left as it is.
        share: Of the weights, from 0 to 1; of equals the first go.
    """
    sparse = deepcopy(model)
    for parameter in sparse.base_model.parameters():  # yields a shared one once
        if parameter.dim() > 1:
            _zero(parameter, round(parameter.numel() * share))
    return sparse


def _zero(matrix: Tensor, count: int) -> None:
    weakest = torch.argsort(matrix.abs().flatten(), stable=True)[:count]
    matrix.view(-1)[weakest] = 0


def sparsity_of(model: PreTrainedModel) -> float:
    """The share of zeros among the weights of the encoder's matrices."""
    matrices = [each for each in model.base_model.parameters() if each.dim() > 1]
    return sum(int((each == 0).sum()) for each in matrices) / sum(each.numel() for each in matrices)


def compressed_bytes(model: PreTrainedModel) -> int:
    """Bytes of all weights after zlib, a shared tensor counted once."""
    compressor = zlib.compressobj(LEVEL)
    size = sum(len(compressor.compress(each.detach().cpu().numpy().tobytes())) for each in model.parameters())
    return size + len(compressor.flush())
