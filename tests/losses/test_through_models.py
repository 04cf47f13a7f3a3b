"""Losses on what real encoders compute: the gradient in a weight is that of finite differences.

In an ALBERT one matrix is all layers' matrix: each layer that a loss reads adds to its gradient, and so does each
layer below. A BERT has a matrix a layer.
"""

import copy

import pytest
import torch

from compress.distillation.layers import attention_pairs, resolve_map
from compress.losses.attention import attention_divergence, attention_mse
from compress.losses.hidden import hidden_cosine, hidden_mse
from compress.losses.relations import relation_divergence

IDS = torch.tensor([[2, 5, 9, 11, 20, 3], [2, 12, 16, 3, 0, 0], [2, 8, 3, 0, 0, 0]])
MASK = (IDS != 0).long()
STEP = 1e-5
"""Of the finite differences, in float64: their error is of the order of its square."""

WEIGHTS = {
    "albert": "encoder.albert_layer_groups.0.albert_layers.0.ffn.weight",
    "bert": "encoder.layer.0.intermediate.dense.weight",
}


def read(model):
    """Hidden states, and of each layer what stands for its attention: the products of its states, by head."""
    states = model(input_ids=IDS, attention_mask=MASK, output_hidden_states=True).hidden_states
    cut = [layer.unflatten(-1, (3, -1)).transpose(1, 2) for layer in states]
    closed = (MASK == 0)[:, None, None, :]
    return states, [(x @ x.transpose(-1, -2)).masked_fill(closed, -torch.inf) for x in cut]


def on_hidden(loss):
    return lambda student, teacher, pairs: sum(loss(student[0][m], teacher[0][n], MASK) for m, n in pairs)


def on_scores(loss):
    return lambda student, teacher, pairs: sum(
        loss(student[1][m], teacher[1][n], MASK) for m, n in attention_pairs(pairs)
    )


def relations(student, teacher, mask):
    return relation_divergence(student, teacher, mask, relation_heads=4)


TERMS = {
    "hidden_mse": on_hidden(hidden_mse),
    "hidden_cosine": on_hidden(hidden_cosine),
    "attention_mse": on_scores(attention_mse),
    "attention_divergence": on_scores(attention_divergence),
    "relation_divergence": on_hidden(relations),
}


@pytest.fixture
def teacher(tiny_model):
    with torch.no_grad():
        return read(shaken(tiny_model("bert", num_hidden_layers=4)))


def shaken(model):
    """In float64, with weights large enough for layers to differ."""
    model = model.double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.2 * noise)
    return model


@pytest.mark.parametrize("family", ["albert", "bert"])
@pytest.mark.parametrize("name", TERMS)
def test_gradient_in_a_weight(name, family, teacher, tiny_model):
    """Guards a detached layer, and a shared layer of which only the last use is counted."""
    student = shaken(tiny_model(family))
    pairs = resolve_map("uniform", student_layers=2, teacher_layers=4)
    weight = student.get_parameter(WEIGHTS[family])
    TERMS[name](read(student), teacher, pairs).backward()
    chosen = weight.grad.flatten().abs().topk(3).indices
    flat = weight.data.view(-1)
    for place in chosen.tolist():
        values = []
        for step in (STEP, -STEP):
            before = flat[place].item()
            flat[place] = before + step
            with torch.no_grad():
                values.append(TERMS[name](read(student), teacher, pairs).item())
            flat[place] = before
        difference = (values[0] - values[1]) / (2 * STEP)
        assert abs(difference) > 1e-6
        assert weight.grad.view(-1)[place].item() == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_a_copy_of_the_teacher_has_nothing_to_learn(name, tiny_model):
    model = shaken(tiny_model("bert"))
    with torch.no_grad():
        answers = read(copy.deepcopy(model))
        pairs = resolve_map("uniform", student_layers=2, teacher_layers=2)
        assert TERMS[name](read(model), answers, pairs).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_shared_layers_sum_over_their_uses(name, teacher, tiny_model):
    """The gradient in the one matrix of both layers is the sum of those in two matrices of equal values."""
    shared = shaken(tiny_model("albert"))
    apart = shaken(tiny_model("albert", num_hidden_groups=2))
    groups = apart.encoder.albert_layer_groups
    state = dict(shared.named_parameters())
    with torch.no_grad():
        for key, value in apart.named_parameters():
            value.copy_(state[key.replace("layer_groups.1", "layer_groups.0")])
    pairs = resolve_map("last", student_layers=2, teacher_layers=4)
    for model in (shared, apart):
        TERMS[name](read(model), teacher, pairs).backward()
    ours = shared.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight.grad
    uses = [group.albert_layers[0].ffn.weight.grad for group in groups]
    assert min(use.abs().max() for use in uses) > 1e-6
    assert torch.allclose(ours, uses[0] + uses[1], rtol=1e-9, atol=1e-12)
