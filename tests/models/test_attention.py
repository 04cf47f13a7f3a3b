"""Plain products where PyTorch's fused attention is slow; the same numbers either way."""

import pytest
import torch
from torch.testing import assert_close

from compress.models import attention
from compress.models.attention import SHORT, attend, attending
from tests.conftest import FAMILIES


@pytest.fixture
def fused(monkeypatch):
    """Calls of the fused attention, counted."""
    calls, run = [], attention.sdpa_attention_forward

    def counting(module, *arguments, **more):
        calls.append(module)
        return run(module, *arguments, **more)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counting)
    return calls


@pytest.mark.parametrize(
    ("length", "precision", "learning", "expected"),
    [
        (SHORT, torch.bfloat16, True, 0),
        (SHORT + 1, torch.bfloat16, True, 1),
        (SHORT, torch.bfloat16, False, 1),
        (SHORT, torch.float32, True, 1),
    ],
    ids=["short", "long", "without gradients", "float32"],
)
def test_products_are_for_short_texts_that_are_learned_in_bfloat16(
    fused, length, precision, learning, expected
):
    query, key, value = torch.randn(3, 2, 3, length, 8, dtype=precision)
    module = torch.nn.Module()
    module.is_causal = False
    with torch.set_grad_enabled(learning):
        output, _ = attend(module, query, key, value, None)
    assert len(fused) == expected
    assert output.shape == (2, length, 3, 8)
    assert output.dtype == precision


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_gradients_are_those_of_float32(tiny_model, fused, family):
    """Guards a mask, a scale or a gradient that the second way forgot: padding weighs nothing in both."""
    ids = torch.tensor([[2, 6, 12, 4, 8, 3], [2, 9, 7, 3, 0, 0]])
    mask = (ids != 0).long()
    found = {}
    for name, halved in (("float32", False), ("bfloat16", True)):
        model = tiny_model(family, initializer_range=0.2, hidden_dropout_prob=0.0).train()
        with attending(model), torch.autocast("cpu", torch.bfloat16, enabled=halved):
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        hidden[mask.bool()].float().square().sum().backward()
        gradients = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
        found[name] = hidden[mask.bool()].float(), gradients
        assert len(fused) == model.config.num_hidden_layers  # those of float32 alone
    assert_close(found["bfloat16"][0], found["float32"][0], atol=0.05, rtol=0.05)
    both = torch.stack([found["bfloat16"][1], found["float32"][1]])
    assert torch.corrcoef(both)[0, 1] > 0.999


def test_the_models_own_function_comes_back(tiny_model):
    model = tiny_model("albert")
    with attending(model):
        assert model.config._attn_implementation == attention.ATTENTION
    assert model.config._attn_implementation == "sdpa"
