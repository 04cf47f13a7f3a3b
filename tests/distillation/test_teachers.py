"""A teacher at work: frozen, without dropout, no deeper than anybody looks."""

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForMaskedLM, set_seed

from compress.distillation.capture import Needs
from compress.distillation.objective import compare_models
from compress.distillation.teachers import FrozenTeacher, load_teacher
from compress.recipes.terms import AttentionTerm, CosineTerm, HiddenTerm, RelationTerm, SoftTerm
from tests.conftest import tiny_config

BATCH = {
    "input_ids": torch.tensor([[2, 6, 12, 4, 8, 3], [2, 9, 4, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2]),
}
EVERY = frozenset({"query", "key", "value"})
NEEDS = Needs(hidden=True, scores=frozenset({1, 2}), vectors={2: EVERY})


@pytest.fixture
def saved(tmp_path, tokenizer):
    """A pretrained model of four layers with its MLM head."""

    def save(family="bert", **changes):
        set_seed(0)
        shape = {"num_hidden_layers": 4, "initializer_range": 0.3} | changes
        model = AutoModelForMaskedLM.from_config(tiny_config(family, tokenizer, **shape))
        model.save_pretrained(tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        return tmp_path / family, model.eval()

    return save


def comparisons(terms, model):
    return compare_models(terms, student=model.config, teacher=model.config)


def test_it_is_in_eval_mode_and_frozen(tiny_model):
    model = tiny_model("bert", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5).train()
    teacher = FrozenTeacher(model, NEEDS, bf16=False)
    assert not any(part.training for part in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    once, again = teacher(BATCH), teacher(BATCH)
    assert all(torch.equal(one, two) for one, two in zip(once.hidden, again.hidden, strict=True))
    assert all(torch.equal(once.scores[layer], again.scores[layer]) for layer in (1, 2))


def test_what_it_says_has_no_gradient_and_can_be_saved_for_a_backward_pass(tiny_model):
    """Guards `inference_mode`: its tensors make MSE and cosine losses raise."""
    said = FrozenTeacher(tiny_model("albert"), NEEDS, bf16=False)(BATCH)
    for tensor in (*said.hidden, *said.scores.values(), *said.vectors[2].values()):
        assert not tensor.requires_grad
        assert not tensor.is_inference()
        learned = torch.zeros_like(tensor, requires_grad=True)
        (torch.nn.functional.mse_loss(learned, tensor) + (learned * tensor).sum()).backward()
        assert_close(learned.grad, tensor - 2 * tensor / tensor.numel())


def test_its_precision_is_its_own(tiny_model):
    """Guards a student's autocast, which would make the teacher's products coarse."""
    teacher = FrozenTeacher(tiny_model("bert"), NEEDS, bf16=False)
    expected = teacher(BATCH).hidden[-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = teacher(BATCH).hidden[-1]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "albert"])
def test_half_precision_is_close(tiny_model, family):
    """Within 3 % of a state's size: bfloat16 keeps 8 bits, and layers are normalized."""
    states = [FrozenTeacher(tiny_model(family), NEEDS, bf16=half)(BATCH).hidden for half in (False, True)]
    for precise, coarse in zip(*states, strict=True):
        assert coarse.dtype == torch.bfloat16
        assert (precise - coarse).norm() < 0.03 * precise.norm()


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "albert"])
@pytest.mark.parametrize(
    ("term", "layers"),
    [
        (HiddenTerm(map=((0, 0), (1, 2))), 2),
        (AttentionTerm(map=((1, 3),)), 3),
        (RelationTerm(of="value", teacher_layer=1), 1),
        (HiddenTerm(map=((0, 0),)), 1),
        (CosineTerm(), 4),
    ],
    ids=lambda value: getattr(value, "loss", value),
)
def test_a_truncated_teacher_says_the_same(saved, family, term, layers):
    path, whole = saved(family)
    compared = comparisons([term], whole)
    cut = load_teacher(path, compared, head=None, bf16=False)
    assert cut.model.config.num_hidden_layers == layers
    found, expected = cut(BATCH), FrozenTeacher(whole, cut.needs, bf16=False)(BATCH)
    for one, other in zip(found.hidden, expected.hidden, strict=False):
        assert_close(one, other)
    for layer in expected.scores:
        assert_close(found.scores[layer], expected.scores[layer])
    for layer, kept in expected.vectors.items():
        assert_close(found.vectors[layer]["value"], kept["value"])


def test_groups_of_shared_layers_are_never_cut(saved):
    path, whole = saved("albert", num_hidden_groups=2)
    compared = comparisons([HiddenTerm(map=((1, 1),))], whole)
    assert load_teacher(path, compared, head=None, bf16=False).model.config.num_hidden_layers == 4


def test_its_mlm_head_comes_along_only_where_it_is_asked(saved):
    path, whole = saved()
    compared = comparisons([SoftTerm(), HiddenTerm(map=((1, 2),))], whole)
    with_head = load_teacher(path, compared, head="masked_lm", bf16=False)
    with torch.no_grad():
        assert_close(with_head(BATCH).logits, whole(**BATCH).logits)
    without = load_teacher(path, compared, head=None, bf16=False)
    assert without(BATCH).logits is None
    assert without.model.config.num_hidden_layers == 2
