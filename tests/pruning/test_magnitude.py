"""Zeros where weights were small: counted, shared once, and worth something only to a compressed file."""

import pytest
import torch

from compress.models.anatomy import read_anatomy
from compress.pruning.magnitude import compressed_bytes, sparsity_of, zero_smallest
from tests.pruning.conftest import logits


@pytest.mark.parametrize("kind", ["bert", "albert", "attention"])
def test_the_smallest_go_in_each_matrix(kind, classifier):
    model = classifier(kind)
    before = logits(model)
    sparse = zero_smallest(model, 0.6)
    assert torch.equal(logits(model), before)
    assert sparsity_of(sparse) == pytest.approx(0.6, abs=0.01)
    for one, other in zip(model.base_model.parameters(), sparse.base_model.parameters(), strict=True):
        gone = other == 0
        if one.dim() > 1:
            assert gone.float().mean() == pytest.approx(0.6, abs=0.02)
            assert one[gone].abs().max() <= one[~gone].abs().min()
        assert torch.equal(one[~gone], other[~gone])
    assert torch.equal(sparse.classifier.weight, model.classifier.weight)
    assert read_anatomy(sparse).blocks == read_anatomy(model).blocks
    assert compressed_bytes(sparse) < 0.75 * compressed_bytes(model)
