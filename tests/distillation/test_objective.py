"""Terms as a loss: weighted, summed over layers, blind to padding; and the projections that they learn."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, set_seed

from compress.distillation.capture import read_states, recording
from compress.distillation.objective import (
    DistillationObjective,
    compare_models,
    deepest_layer,
    student_needs,
    teacher_needs,
)
from compress.distillation.teachers import FrozenTeacher
from compress.errors import InvalidInputError
from compress.losses.hidden import hidden_mse
from compress.losses.tokens import widen
from compress.recipes.methods import SMALL_MINILM, SMALL_TINYBERT, SMALL_TRIPLE
from compress.recipes.terms import (
    AttentionDistributionTerm,
    AttentionTerm,
    CosineTerm,
    HardTerm,
    HiddenTerm,
    MaskedLmTerm,
    RelationTerm,
    SoftTerm,
)
from tests.conftest import tiny_config

IDS = torch.tensor([[2, 6, 12, 4, 8, 3], [2, 9, 4, 3, 0, 0], [2, 4, 7, 21, 3, 0]])
MASK = (IDS != 0).long()
LABELS = torch.where(IDS == 4, torch.tensor([[17], [18], [19]]), -100)
TASK_TERMS = (SoftTerm(temperature=2.0), HardTerm())
STATE_TERMS = (
    CosineTerm(),
    HiddenTerm(),
    AttentionTerm(),
    AttentionDistributionTerm(),
    RelationTerm(of="query"),
    RelationTerm(of="key"),
    RelationTerm(of="value"),
)
LANGUAGE_TERMS = (SoftTerm(temperature=2.0), MaskedLmTerm())
SHARP = {"initializer_range": 0.3}


def language_batch(ids=IDS, mask=MASK, labels=LABELS):
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def task_batch():
    draw = torch.Generator().manual_seed(1)
    return {
        "input_ids": IDS,
        "attention_mask": MASK,
        "labels": torch.tensor([0, 1, 1]),
        "teacher_logits": torch.randn(3, 1, 2, generator=draw),
    }


@pytest.fixture
def build(tokenizer):
    """A model of a family; `auto` says with which head."""

    def build(family, auto=AutoModelForMaskedLM, **changes):
        set_seed(len(family))
        return auto.from_config(tiny_config(family, tokenizer, **(SHARP | changes))).eval()

    return build


@pytest.fixture
def student(build):
    return build("albert", hidden_size=36)


@pytest.fixture
def teacher(build):
    return build("bert", num_hidden_layers=4)


def objective_of(terms, student, teacher, *, masked_lm=True, **more):
    comparisons = compare_models(terms, student=student.config, teacher=teacher.config)
    teach = FrozenTeacher(teacher, teacher_needs(comparisons, answers=masked_lm), bf16=False)
    fields = {"student": student.config, "teacher": teacher.config, "teach": teach} | more
    return DistillationObjective(comparisons, **fields)


def judge(objective, model, batch):
    with recording(model, objective.needs):
        return objective(model, batch)


def terms_of(objective, model, batch):
    return {name: term.value.item() for name, term in judge(objective, model, batch).terms.items()}


@pytest.mark.parametrize("term", [*STATE_TERMS, *LANGUAGE_TERMS], ids=lambda term: term.loss)
def test_a_term_is_multiplied_by_its_weight(student, teacher, term):
    once, thrice = (
        terms_of(
            objective_of([term.model_copy(update={"weight": weight})], student, teacher),
            student,
            language_batch(),
        )
        for weight in (1.0, 3.0)
    )
    ((name, value),) = once.items()
    assert value > 1e-3
    assert thrice == {name: pytest.approx(3 * value, rel=1e-5)}


@pytest.mark.parametrize("term", TASK_TERMS, ids=lambda term: term.loss)
def test_a_task_s_term_is_multiplied_by_its_weight(build, teacher, term):
    student = build("albert", AutoModelForSequenceClassification, hidden_size=36)
    once, thrice = (
        terms_of(
            objective_of(
                [term.model_copy(update={"weight": weight})], student, teacher, masked_lm=False, teach=None
            ),
            student,
            task_batch(),
        )[term.loss]
        for weight in (1.0, 3.0)
    )
    assert thrice == pytest.approx(3 * once, rel=1e-5)


def test_terms_keep_their_names_apart(student, teacher):
    objective = objective_of(
        (HiddenTerm(map="last"), HiddenTerm(map="first"), *STATE_TERMS[4:]), student, teacher
    )
    assert set(terms_of(objective, student, language_batch())) == {
        *("hidden", "hidden_2", "query_relations", "key_relations", "value_relations"),
    }


def test_layers_are_summed_each_through_its_own_projection(student, teacher):
    """Guards a mean over layers, a layer forgotten, and embeddings sent through the layers' matrix."""
    pairs = ((0, 0), (1, 2), (2, 4), (2, 3))
    objective = objective_of([HiddenTerm(map=pairs)], student, teacher)
    found = judge(objective, student, language_batch()).terms["hidden"].value
    batch = language_batch()
    ours, theirs = read_states(student, batch, objective.needs).hidden, objective.teach(batch).hidden
    expected = sum(
        hidden_mse(objective.projections["embeddings" if m == 0 else "layers"](ours[m]), theirs[n], MASK)
        for m, n in pairs
    )
    assert_close(found, expected)


def test_attention_is_summed_over_its_layers(student, teacher):
    whole = terms_of(objective_of([AttentionTerm()], student, teacher), student, language_batch())
    parts = [
        terms_of(objective_of([AttentionTerm(map=(pair,))], student, teacher), student, language_batch())
        for pair in ((1, 2), (2, 4))
    ]
    assert whole["attention"] == pytest.approx(sum(part["attention"] for part in parts), rel=1e-5)


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ((HiddenTerm(),), {"embeddings", "layers"}),
        ((HiddenTerm(map=((2, 4),)),), {"layers"}),
        ((CosineTerm(),), {"direction"}),
        ((HiddenTerm(), CosineTerm(), HiddenTerm(map="last")), {"embeddings", "layers", "direction"}),
        ((*STATE_TERMS[2:], *LANGUAGE_TERMS), set()),
    ],
)
def test_there_are_as_many_projections_as_the_papers_have(student, teacher, terms, names):
    objective = objective_of(terms, student, teacher)
    assert set(objective.projections) == names
    for projection in objective.projections.values():
        assert (projection.in_features, projection.out_features) == (36, 24)
        assert projection.weight.requires_grad
    assert not [name for name, _ in objective.named_parameters() if not name.startswith("projections.")]


def test_a_projection_of_equal_widths_starts_at_the_identity(build, teacher):
    student = build("albert", hidden_size=24)
    objective = objective_of([HiddenTerm(), CosineTerm()], student, teacher)
    states = torch.randn(2, 3, 24)
    for projection in objective.projections.values():
        assert_close(projection(states), states)


def test_projections_depend_on_their_seed_alone(student, teacher):
    set_seed(1)
    one = objective_of([HiddenTerm()], student, teacher, seed=5).state_dict()
    set_seed(2)
    same = objective_of([HiddenTerm()], student, teacher, seed=5).state_dict()
    other = objective_of([HiddenTerm()], student, teacher, seed=6).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["projections.layers.weight"], other["projections.layers.weight"])
    assert not torch.equal(one["projections.layers.weight"], one["projections.embeddings.weight"])


@pytest.mark.parametrize("family", ["bert", "albert", "electra"])
def test_a_model_that_learns_from_itself_has_nothing_to_learn(build, family):
    """Guards layers that are paired one off, on either side."""
    auto = AutoModelForMaskedLM
    model = build(family, auto, num_hidden_layers=2)
    terms = (*STATE_TERMS, SoftTerm(temperature=2.0))
    found = terms_of(objective_of(terms, model, model), model, language_batch())
    assert found == {name: pytest.approx(0.0, abs=1e-5) for name in found}


def test_padding_never_matters(student, teacher):
    """Whatever stands there, and however much of it."""
    objective = objective_of((*STATE_TERMS, *LANGUAGE_TERMS), student, teacher)
    expected = terms_of(objective, student, language_batch())
    rubbish = torch.where(MASK.bool(), IDS, 23)
    wider = [
        nn.functional.pad(part, (0, 4), value=value)
        for part, value in ((rubbish, 9), (MASK, 0), (LABELS, -100))
    ]
    for batch in (language_batch(ids=rubbish), language_batch(*wider)):
        found = terms_of(objective, student, batch)
        assert found == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_each_mean_knows_over_how_many_it_was_taken(student, teacher):
    """Processes weight their shares by it: a wrong count is a loss that depends on how a batch was cut."""
    terms = (*STATE_TERMS, *LANGUAGE_TERMS)
    objective = objective_of(terms, student, teacher)
    whole = judge(objective, student, language_batch()).terms
    parts = [
        judge(objective, student, {name: part[rows] for name, part in language_batch().items()}).terms
        for rows in (slice(0, 1), slice(1, 3))
    ]
    for name, term in whole.items():
        counts = torch.tensor([float(part[name].count) for part in parts])
        values = torch.stack([part[name].value for part in parts])
        assert_close((values * counts).sum() / counts.sum(), term.value, rtol=1e-4, atol=1e-6)
        assert counts.sum() == float(term.count)


def test_soft_labels_of_masked_words_alone_are_another_loss(student, teacher):
    """`positions` chooses: what stands at the other tokens then changes nothing."""
    values = [
        terms_of(objective_of([SoftTerm(positions=where)], student, teacher), student, language_batch())[
            "soft"
        ]
        for where in ("all", "masked")
    ]
    assert values[0] != pytest.approx(values[1], rel=1e-2)
    count = judge(objective_of([SoftTerm(positions="masked")], student, teacher), student, language_batch())
    assert int(count.terms["soft"].count) == int((IDS == 4).sum())


@pytest.mark.parametrize("term", [AttentionTerm(), AttentionDistributionTerm()])
def test_unequal_heads_are_refused_and_relations_named(build, teacher, term):
    student = build("albert", hidden_size=36, num_attention_heads=2)
    with pytest.raises(InvalidInputError, match="2 attention heads, the teacher 3") as caught:
        compare_models([term], student=student.config, teacher=teacher.config)
    assert "relations" in caught.value.fix
    assert "--method minilm" in caught.value.fix
    (free,) = compare_models([RelationTerm(of="key")], student=student.config, teacher=teacher.config)
    assert free.relation_heads == 12


def test_relation_heads_that_do_not_divide_are_refused(student, teacher):
    with pytest.raises(InvalidInputError, match="relation_heads = 5 does not divide") as caught:
        compare_models(
            [RelationTerm(of="key", relation_heads=5)], student=student.config, teacher=teacher.config
        )
    assert "1, 2, 3, 4, 6, 12" in caught.value.fix


@pytest.mark.parametrize(
    ("widths", "heads"),
    [((312, 384), 24), ((312, 768), 24), ((768, 768), 48), ((384, 384), 48), ((64, 96), 32)],
)
def test_relation_heads_are_as_many_as_divide_both_widths(widths, heads):
    student, teacher = (
        SimpleNamespace(num_hidden_layers=2, hidden_size=width, num_attention_heads=1) for width in widths
    )
    (found,) = compare_models([RelationTerm(of="value")], student=student, teacher=teacher)
    assert found.relation_heads == heads


def test_a_layer_that_the_teacher_does_not_have_is_refused(student, teacher):
    for term in (RelationTerm(of="key", teacher_layer=5), HiddenTerm(map=((1, 5),))):
        with pytest.raises(InvalidInputError, match="not there"):
            compare_models([term], student=student.config, teacher=teacher.config)


def test_what_is_asked_of_each_model(student, teacher):
    """Guards logits of a vocabulary computed for nothing, and a teacher run deeper than anything looks."""
    terms = (HiddenTerm(map=((1, 2),)), RelationTerm(of="key", teacher_layer=3), MaskedLmTerm())
    comparisons = compare_models(terms, student=student.config, teacher=teacher.config)
    ours, theirs = student_needs(comparisons), teacher_needs(comparisons, answers=True)
    assert (ours.logits, ours.hidden, ours.vectors) == (True, True, {2: {"key"}})
    assert (theirs.logits, theirs.hidden, theirs.vectors) == (False, True, {3: {"key"}})
    assert deepest_layer(comparisons) == 3
    soft = compare_models([SoftTerm()], student=student.config, teacher=teacher.config)
    assert teacher_needs(soft, answers=True).logits
    assert not teacher_needs(soft, answers=False).logits


MIXES = {
    "tinybert": SMALL_TINYBERT.general.terms,
    "minilm": SMALL_MINILM.general.terms,
    "triple": SMALL_TRIPLE.general.terms,
    "minilm, version 1": (AttentionDistributionTerm(), RelationTerm(of="value")),
}


@pytest.mark.parametrize("mix", MIXES)
def test_the_gradient_of_what_is_shared_is_the_slope_of_the_loss(student, teacher, mix):
    """A shared layer's gradient is the sum over its uses, the embeddings' passes the factorized table."""
    student = student.double()
    objective = objective_of(MIXES[mix], student, teacher).double()

    def loss():
        return torch.stack(
            [term.value for term in judge(objective, student, language_batch()).terms.values()]
        ).sum()

    shared = student.albert.encoder.albert_layer_groups[0].albert_layers[0]
    parts = [
        shared.attention.query.weight,
        shared.ffn.weight,
        student.albert.embeddings.word_embeddings.weight,
    ]
    parts += [projection.weight for projection in objective.projections.values()]
    loss().backward()
    for part in parts:
        for row, column in ((4, 2), (9, 11)):
            slope = part.grad[row, column].item()
            step = 1e-5
            with torch.no_grad():
                part[row, column] += step
                above = loss().item()
                part[row, column] -= 2 * step
                below = loss().item()
                part[row, column] += step
            assert slope == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8)
    assert parts[0].grad.abs().max() > 1e-6


def test_only_the_student_and_the_projections_get_gradients(student, teacher):
    objective = objective_of((*STATE_TERMS, *LANGUAGE_TERMS), student, teacher)
    terms = judge(objective, student, language_batch()).terms.values()
    torch.stack([widen(term.value) for term in terms]).sum().backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad.abs().max() > 0 for parameter in objective.parameters())
    learned = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in student.named_parameters()}
