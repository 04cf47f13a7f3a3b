"""What all losses on tokens promise alike: padding never matters, themselves are the minimum, gradients are right."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from compress.losses.attention import attention_divergence, attention_mse
from compress.losses.hidden import hidden_cosine, hidden_mse
from compress.losses.relations import relation_divergence
from compress.losses.soft_targets import soft_cross_entropy, soft_divergence


def relations(student, teacher, mask):
    return relation_divergence(student, teacher, mask, relation_heads=2)


def divergence(student, teacher, mask):
    return soft_divergence(student, teacher, temperature=2.0, mask=mask)


def cross_entropy(student, teacher, mask):
    return soft_cross_entropy(student, teacher, temperature=2.0, mask=mask)


ON_CELLS = (attention_mse, attention_divergence)
LEAST_IS_0 = (*ON_CELLS, hidden_mse, hidden_cosine, relations, divergence)
LOSSES = (*LEAST_IS_0, cross_entropy)
every = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def draw_inputs(loss, lengths, *, dtype=torch.float64, seed=0):
    """Student, teacher and mask for texts of these lengths, padded to the longest."""
    generator = torch.Generator().manual_seed(seed)
    count, longest = len(lengths), max(lengths)
    shape = (count, 2, longest, longest) if loss in ON_CELLS else (count, longest, 6)
    student, teacher = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    mask = (torch.arange(longest)[None] < torch.tensor(lengths)[:, None]).long()
    return student, teacher, mask


def overwrite(loss, tensor, mask, value):
    """The tensor with everything of padding replaced."""
    real = mask.bool()
    keep = real[:, None, :, None] & real[:, None, None, :] if loss in ON_CELLS else real[..., None]
    return torch.where(keep, tensor, value)


lengths_of_texts = st.lists(st.integers(1, 6), min_size=1, max_size=4)
garbage = st.floats(-1e30, 1e30)


@every
@settings(max_examples=30, deadline=None)
@given(lengths=lengths_of_texts, more=st.integers(1, 5), left=garbage, right=garbage, seed=st.integers(0, 99))
def test_more_padding_changes_nothing(loss, lengths, more, left, right, seed):
    """Guards any mean over padded positions, whatever may stand in them, on either side."""
    student, teacher, mask = draw_inputs(loss, lengths, seed=seed)
    expected = loss(student, teacher, mask).item()
    edges = (0, more, 0, more) if loss in ON_CELLS else (0, 0, 0, more)
    longer = functional.pad(mask, (0, more))
    longer_student = overwrite(loss, functional.pad(student, edges), longer, left).requires_grad_()
    longer_teacher = overwrite(loss, functional.pad(teacher, edges), longer, right)
    actual = loss(longer_student, longer_teacher, longer)
    assert actual.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    actual.backward()
    assert longer_student.grad.isfinite().all()
    assert (overwrite(loss, longer_student.grad, longer, 0.0) == longer_student.grad).all()


@every
def test_the_largest_numbers_in_padding(loss):
    """Guards products of padding that overflow, and reach a real token as inf · 0."""
    student, teacher, mask = draw_inputs(loss, [4, 2], dtype=torch.float32)
    expected = loss(student, teacher, mask)
    most = torch.finfo(torch.float32).max
    extreme = overwrite(loss, student, mask, most).requires_grad_()
    actual = loss(extreme, overwrite(loss, teacher, mask, -most), mask)
    actual.backward()
    assert actual.item() == expected.item()
    assert extreme.grad.isfinite().all()


@every
def test_padding_on_the_left_or_between_is_padding(loss):
    student, teacher, mask = draw_inputs(loss, [5, 3])
    order = torch.tensor([4, 1, 0, 3, 2])
    moved = [x[:, :, order][..., order] if loss in ON_CELLS else x[:, order] for x in (student, teacher)]
    assert loss(*moved, mask[:, order]).item() == pytest.approx(loss(student, teacher, mask).item(), rel=1e-9)


@every
def test_gradient_is_that_of_finite_differences(loss):
    student, teacher, mask = draw_inputs(loss, [4, 2, 1])
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, mask), student)


@pytest.mark.parametrize("loss", LEAST_IS_0, ids=lambda loss: loss.__name__)
@settings(max_examples=20, deadline=None)
@given(lengths=lengths_of_texts, seed=st.integers(0, 99))
def test_the_teacher_s_own_answer_costs_nothing(loss, lengths, seed):
    student, teacher, mask = draw_inputs(loss, [*lengths, 2], seed=seed)
    itself = teacher.clone().requires_grad_()
    least = loss(itself, teacher, mask)
    least.backward()
    assert least.item() == pytest.approx(0, abs=1e-12)
    assert itself.grad.abs().max() < 1e-12
    assert loss(student, teacher, mask) > 1e-4


@every
def test_a_text_without_tokens_adds_nothing(loss):
    """Guards NaN from a softmax over no key, and from a mean over nothing."""
    student, teacher, mask = draw_inputs(loss, [3, 2])
    expected = loss(student[:1], teacher[:1], mask[:1])
    mask[1] = 0
    student.requires_grad_()
    actual = loss(student, teacher, mask)
    assert actual.item() == pytest.approx(expected.item())
    nothing = loss(student, teacher, torch.zeros_like(mask))
    (actual + nothing).backward()
    assert nothing.item() == 0
    assert student.grad.isfinite().all()


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_inputs_are_widened_first(loss, dtype):
    """Guards sums in bfloat16: the value is float32's, within 1e-6 of float64's on the same rounded inputs."""
    student, teacher, mask = draw_inputs(loss, [5, 4, 2], dtype=torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    actual = loss(student, teacher, mask)
    assert actual.dtype == torch.float32
    assert actual.shape == ()
    assert actual.item() == pytest.approx(
        loss(student.double(), teacher.double(), mask).item(), rel=1e-6, abs=1e-6
    )


@every
def test_any_kind_of_mask(loss):
    student, teacher, mask = draw_inputs(loss, [4, 2])
    values = {
        loss(student, teacher, mask.to(kind)).item() for kind in (torch.int64, torch.bool, torch.float32)
    }
    assert len(values) == 1


@every
def test_inputs_are_left_as_they_were(loss):
    """Guards an in-place fill of scores that the model still needs."""
    student, teacher, mask = draw_inputs(loss, [4, 2], dtype=torch.float32)
    before = [x.clone() for x in (student, teacher, mask)]
    loss(student, teacher, mask)
    assert all(torch.equal(x, y) for x, y in zip((student, teacher, mask), before, strict=True))


@every
def test_tokens_weigh_alike_whatever_their_text(loss):
    """One mean over the batch: guards a mean of means, in which a token of a short text weighs more."""
    student, teacher, mask = draw_inputs(loss, [5, 1])
    sizes = np.array([25, 1]) if loss is attention_mse else np.array([5, 1])
    single = [loss(student[i : i + 1], teacher[i : i + 1], mask[i : i + 1]).item() for i in (0, 1)]
    assert loss(student, teacher, mask).item() == pytest.approx(np.average(single, weights=sizes))
