"""A student from its teacher: exact where the shapes agree, near where they do not, and the same every time."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from compress.errors import InvalidInputError
from compress.models.anatomy import read_anatomy
from compress.models.initialization import initialize_from_teacher, pick_layers
from compress.recipes.start import FromTeacher
from tests.conftest import FAMILIES, tiny_config

LIVELY = {"initializer_range": 0.3, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
"""At 0.02 tiny layers change so little that a wrong one would pass."""


@pytest.fixture
def build(tiny_model):
    """family → a base model whose LayerNorms and biases are not all ones and zeros."""

    def build(family: str, *, seed: int = 1, **changes):
        model = tiny_model(family, **(LIVELY | changes)).eval()
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
        return model

    return build


def hidden_states(model, **inputs) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(5)
    ids = torch.randint(5, 32, (4, 12), generator=draw)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    with torch.no_grad():
        return model(ids, attention_mask=mask, output_hidden_states=True, **inputs).hidden_states


def start(student, teacher, layers="uniform"):
    return initialize_from_teacher(student, teacher, FromTeacher(layers=layers))


def spread_error(states: torch.Tensor, target: torch.Tensor) -> float:
    return float((states - target).norm() / (target - target.mean()).norm())


def test_published_layers():
    """DistilBERT's six of BERT's twelve (ALGORITHMS.md)."""
    assert pick_layers(12, 6) == (0, 2, 4, 7, 9, 11)
    assert pick_layers(6, 6) == (0, 1, 2, 3, 4, 5)
    assert pick_layers(6, 4) == (0, 2, 3, 5)
    assert pick_layers(6, 1) == (2,)
    assert pick_layers(2, 4) == (0, 0, 1, 1)


@pytest.mark.parametrize("teacher", ["bert", "roberta"])
def test_a_bert_of_the_same_shape_says_the_same(build, teacher):
    theirs = build(teacher, seed=2)
    ours = build("bert", max_position_embeddings=64)
    start(ours, theirs)
    for mine, wanted in zip(hidden_states(ours), hidden_states(theirs), strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_an_albert_of_the_same_shape_says_the_same(build, groups):
    theirs = build("albert", seed=2, num_hidden_layers=4, num_hidden_groups=groups)
    ours = build("albert", num_hidden_layers=4, num_hidden_groups=groups)
    start(ours, theirs)
    for mine, wanted in zip(hidden_states(ours), hidden_states(theirs), strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.pooler.weight, theirs.pooler.weight)


def test_an_albert_with_a_group_a_layer_takes_electra_s_layers_and_projection(build):
    theirs = build("electra", seed=2)
    ours = build("albert", num_hidden_groups=2)
    start(ours, theirs)
    for mine, wanted in zip(hidden_states(ours), hidden_states(theirs), strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-5)


def test_an_albert_as_wide_inside_takes_bert_s_tables_as_they_are(build):
    theirs, ours = build("bert", seed=2), build("albert", num_hidden_groups=2, embedding_size=24)
    assert start(ours, theirs).embedding_error < 1e-6
    for mine, wanted in zip(hidden_states(ours), hidden_states(theirs), strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-5)


def test_a_factorization_is_exact_where_it_has_the_rank(build):
    """Centred rows of width 24 have rank 23; the 24th direction is the one that LayerNorm takes away."""
    theirs, ours = build("bert", seed=2), build("albert", embedding_size=32)
    low = torch.linalg.qr(torch.randn(24, 9, generator=torch.Generator().manual_seed(0)))[0]
    with torch.no_grad():
        for table in (theirs.embeddings.word_embeddings, theirs.embeddings.position_embeddings):
            table.weight.copy_(table.weight @ low @ low.T)
        theirs.embeddings.token_type_embeddings.weight.zero_()
    for size in (32, 16):  # wider than the teacher's; at least rank + 1
        ours = build("albert", embedding_size=size)
        made = start(ours, theirs)
        assert made.embedding_energy == pytest.approx(1.0, abs=1e-6)
        assert spread_error(hidden_states(ours)[0], hidden_states(theirs)[0]) < 0.01
    cut = start(build("albert", embedding_size=6), theirs)
    assert cut.embedding_energy < 0.99
    assert cut.embedding_error > 0.1


@pytest.mark.parametrize("teacher", FAMILIES)
@pytest.mark.parametrize("student", ["bert", "albert"])
def test_every_pair_of_families_comes_nearer_to_the_teacher(build, teacher, student):
    """With each width cut, and each grown, all stays finite and the first states are the teacher's in part."""
    theirs = build(teacher, seed=2, num_hidden_layers=4)
    for changes in (
        {"hidden_size": 18, "intermediate_size": 40},
        {"hidden_size": 30, "intermediate_size": 60},
        {"hidden_size": 24, "num_attention_heads": 2},
        {"hidden_size": 24, "num_attention_heads": 4},
    ):
        sizes = {"embedding_size": 12} if student == "albert" else {}
        ours = build(student, max_position_embeddings=70, **changes, **sizes)
        made = start(ours, theirs)
        assert all(bool(torch.isfinite(state).all()) for state in hidden_states(ours))
        assert made.embedding_error < 0.9
        assert made.hidden_size == (24, changes["hidden_size"])


@pytest.mark.parametrize(
    "changes",
    [{"intermediate_size": 80}, {"num_attention_heads": 1}, {"num_attention_heads": 2}],
    ids=["more neurons", "wider heads", "fewer, wider heads"],
)
def test_what_is_new_in_a_larger_student_adds_nothing(build, changes):
    """Guards copies whose twins would train alike, and random parts that would disturb the rest."""
    heads = changes.get("num_attention_heads", 3)
    theirs = build("bert", seed=2, **({"num_attention_heads": heads * 2} if heads < 3 else {}))
    ours = build("bert", **changes)
    if heads < 3:  # the teacher has twice the heads; silence those that the student cannot have
        with torch.no_grad():
            size = 24 // (heads * 2)
            for layer in theirs.encoder.layer:
                layer.attention.output.dense.weight[:, heads * size :] = 0
    start(ours, theirs)
    torch.testing.assert_close(hidden_states(ours)[-1], hidden_states(theirs)[-1], atol=1e-5, rtol=1e-4)
    inner = read_anatomy(ours).layers[0].feed_forward.inner.weight
    assert bool((inner.norm(dim=1) > 0).all())


def test_new_coordinates_are_read_by_nothing(build):
    theirs, ours = build("bert", seed=2), build("bert", hidden_size=30, num_attention_heads=3)
    start(ours, theirs)
    layer, given = read_anatomy(ours).layers[1], read_anatomy(theirs).layers[1]
    for linear in (
        layer.attention.query,
        layer.attention.key,
        layer.attention.value,
        layer.feed_forward.inner,
    ):
        assert bool((linear.weight[:, 24:] == 0).all())
        assert bool((linear.weight[:8, :24] != 0).all())
    torch.testing.assert_close(layer.output_norm.weight[:24], given.output_norm.weight * (24 / 30) ** 0.5)


def test_neurons_that_nothing_reads_go_first(build):
    theirs, ours = build("bert", seed=2), build("bert", intermediate_size=40)
    with torch.no_grad():
        for layer in read_anatomy(theirs).layers:
            layer.feed_forward.inner.weight[3:11] *= 10
            layer.feed_forward.outer.weight[:, 3:11] = 0
    start(ours, theirs)
    torch.testing.assert_close(hidden_states(ours)[-1], hidden_states(theirs)[-1], atol=1e-6, rtol=1e-5)


def test_more_heads_start_silent(build):
    theirs, ours = build("bert", seed=2, num_attention_heads=2), build("bert", num_attention_heads=4)
    start(ours, theirs)
    output = read_anatomy(ours).layers[0].attention.output.weight
    assert bool((output[:, 12:] == 0).all())
    assert bool((output[:, :12] != 0).all())


def test_smaller_heads_keep_what_has_their_rank(build):
    """Wq·Wk and Wv·Wo of rank 4 fit into heads of 4 (and of 8) alike; the scores' √d is made up for."""
    theirs = build("bert", seed=2)
    with torch.no_grad():
        for layer in theirs.encoder.layer:
            inside = layer.attention.self
            for linear in (inside.query, inside.value):
                linear.weight.view(3, 8, 24)[:, 4:] = 0
                linear.bias.view(3, 8)[:, 4:] = 0
    ours = build("bert", num_attention_heads=3)
    target = read_anatomy(ours).layers[0].attention
    small = type(target)(
        *(torch.nn.Linear(24, 12) for _ in range(3)),
        torch.nn.Linear(12, 24),
    )
    from compress.models.widths import write_attention

    given = read_anatomy(theirs).layers[0].attention
    parts = {name: (getattr(given, name).weight, getattr(given, name).bias) for name in vars(given)}
    with torch.no_grad():
        write_attention(small, **parts, heads=(3, 3))
        states = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(attend(small, states), attend(given, states), atol=1e-4, rtol=1e-4)


def attend(attention, states: torch.Tensor, heads: int = 3) -> torch.Tensor:
    q, k, v = (
        linear(states).unflatten(-1, (heads, -1)).transpose(1, 2)
        for linear in (attention.query, attention.key, attention.value)
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return attention.output(mixed.transpose(1, 2).flatten(2))


def test_a_narrower_student_keeps_the_strongest_coordinates_everywhere(build):
    theirs, ours = build("bert", seed=2), build("bert", hidden_size=18, num_attention_heads=3)
    loud = [2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 23]
    with torch.no_grad():
        for layer in read_anatomy(theirs).layers:
            for norm in (layer.attention_norm, layer.output_norm):
                norm.weight.fill_(0.5)
                norm.weight[loud] = 1.5
                norm.bias.zero_()
    start(ours, theirs)
    words = theirs.embeddings.word_embeddings.weight
    torch.testing.assert_close(ours.embeddings.word_embeddings.weight, words[:, loud])
    pooler = theirs.pooler.dense.weight
    torch.testing.assert_close(ours.pooler.dense.weight, pooler[loud][:, loud])
    inner = theirs.encoder.layer[1].intermediate.dense.weight[:, loud]
    torch.testing.assert_close(ours.encoder.layer[1].intermediate.dense.weight, inner)


def test_the_mean_of_the_layers_and_one_of_them(build):
    theirs, ours = build("bert", seed=2, num_hidden_layers=5), build("albert", num_hidden_layers=3)
    weights = [layer.attention.self.key.weight for layer in theirs.encoder.layer]
    shared = ours.encoder.albert_layer_groups[0].albert_layers[0]
    assert start(ours, theirs, "mean").attention == ((0, 1, 2, 3, 4),) * 3
    torch.testing.assert_close(shared.attention.key.weight, torch.stack(weights).mean(dim=0))
    assert start(ours, theirs, "uniform").feed_forward == ((2,),) * 3
    torch.testing.assert_close(shared.attention.key.weight, weights[2])
    assert start(ours, theirs, (4,)).attention == ((4,),) * 3
    torch.testing.assert_close(shared.attention.key.weight, weights[4])


def test_each_group_is_the_mean_of_its_own_stretch(build):
    theirs = build("bert", seed=2, num_hidden_layers=6)
    ours = build("albert", num_hidden_layers=4, num_hidden_groups=2)
    assert start(ours, theirs, "mean").attention == ((0, 1, 2), (0, 1, 2), (3, 4, 5), (3, 4, 5))
    assert start(ours, theirs, (1, 5)).attention == ((1,), (1,), (5,), (5,))


def test_where_only_attention_is_shared_only_attention_is_a_mean(build):
    theirs = build("bert", seed=2, num_hidden_layers=6)
    ours = build("albert", num_hidden_layers=3, num_hidden_groups=3)
    layers = [group.albert_layers[0] for group in ours.encoder.albert_layer_groups]
    for layer in layers[1:]:
        layer.attention = layers[0].attention
    made = start(ours, theirs, "mean")
    assert made.attention == ((0, 1, 2, 3, 4, 5),) * 3
    assert made.feed_forward == ((0,), (2,), (5,))
    assert layers[1].attention is layers[0].attention
    for layer, source in zip(layers, (0, 2, 5), strict=True):
        torch.testing.assert_close(layer.ffn.weight, theirs.encoder.layer[source].intermediate.dense.weight)
        torch.testing.assert_close(
            layer.full_layer_layer_norm.weight, theirs.encoder.layer[source].output.LayerNorm.weight
        )


def test_sharing_and_tying_survive(build):
    ours = build("albert", num_hidden_layers=4)
    before = [name for name, _ in ours.named_parameters()]
    start(ours, build("bert", seed=2), "mean")
    assert [name for name, _ in ours.named_parameters()] == before
    assert len(ours.encoder.albert_layer_groups) == 1
    assert all(parameter.requires_grad and parameter.grad_fn is None for parameter in ours.parameters())


def test_a_single_token_type_stands_for_both(build):
    theirs, ours = build("roberta", seed=2, type_vocab_size=1), build("bert")
    start(ours, theirs)
    types = ours.embeddings.token_type_embeddings.weight
    torch.testing.assert_close(types[0], types[1])
    assert bool((types != 0).any())


def test_both_token_types_are_taken(build):
    theirs, ours = build("bert", seed=2), build("bert")
    start(ours, theirs)
    ids = torch.ones(4, 12, dtype=torch.long)
    wanted = hidden_states(theirs, token_type_ids=ids)[-1]
    torch.testing.assert_close(hidden_states(ours, token_type_ids=ids)[-1], wanted)


@pytest.mark.parametrize(("teacher", "bound"), [("bert", 0.15), ("electra", 0.37), ("albert", 0.3)])
def test_cut_tables_are_fitted_to_the_first_states(build, teacher, bound):
    """ELECTRA's and ALBERT's projections are composed into a BERT's tables; its LayerNorm makes up for the rest."""
    theirs, ours = build(teacher, seed=2), build("bert", hidden_size=21)
    made = start(ours, theirs)
    assert made.embedding_error < bound


def test_positions_as_far_as_both_have_them(build):
    theirs = build("bert", seed=2, max_position_embeddings=20)
    for count in (12, 40):
        ours = build("bert", max_position_embeddings=count)
        untouched = ours.embeddings.position_embeddings.weight[20:].clone()
        start(ours, theirs)
        rows = ours.embeddings.position_embeddings.weight
        torch.testing.assert_close(rows[:20], theirs.embeddings.position_embeddings.weight[:count])
        torch.testing.assert_close(rows[20:], untouched)


def test_roberta_s_first_token_has_position_0_here(build):
    theirs, ours = build("roberta", seed=2, pad_token_id=1), build("bert")
    start(ours, theirs)
    rows = theirs.embeddings.position_embeddings.weight
    torch.testing.assert_close(ours.embeddings.position_embeddings.weight[:64], rows[2:])


def test_heads_are_left_alone_and_the_teacher_too(build, tokenizer):
    theirs = AutoModelForSequenceClassification.from_config(tiny_config("bert", tokenizer))
    ours = AutoModelForSequenceClassification.from_config(tiny_config("albert", tokenizer))
    weights = {name: value.clone() for name, value in theirs.state_dict().items()}
    classifier = ours.classifier.weight.clone()
    start(ours, theirs)
    assert torch.equal(ours.classifier.weight, classifier)
    assert torch.equal(ours.albert.pooler.weight, theirs.bert.pooler.dense.weight)
    assert all(torch.equal(value, weights[name]) for name, value in theirs.state_dict().items())


def test_the_same_every_time_without_touching_the_random_state(build):
    theirs = build("bert", seed=2)
    made = []
    for seed in (1, 2):
        ours = build("albert", hidden_size=18, embedding_size=8)
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        made.append((start(ours, theirs, "mean"), ours.state_dict()))
        assert torch.equal(torch.get_rng_state(), state)
    assert made[0][0] == made[1][0]
    assert all(torch.equal(made[0][1][name], value) for name, value in made[1][1].items())


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        ((0, 1), "names 2 of the teacher's layers (0, 1); the student has 3 distinct layers"),
        ((0, 1, 2, 3), "names 4 of the teacher's layers"),
        ((0, 1, 4), "names layer 4 (0, 1, 4); the teacher has 4 layers, counted from 0 to 3"),
    ],
)
def test_layers_that_do_not_fit_are_named(build, layers, complaint):
    theirs, ours = build("bert", num_hidden_layers=4), build("bert", num_hidden_layers=3)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(InvalidInputError) as caught:
        start(ours, theirs, layers)
    assert complaint in caught.value.problem
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_another_vocabulary_is_refused(build):
    with pytest.raises(InvalidInputError, match="has 50 pieces, its teacher's word table only 32"):
        start(build("bert", vocab_size=50), build("bert", vocab_size=32))


def test_a_teacher_of_another_build_is_refused(build):
    from transformers import DistilBertConfig, DistilBertModel

    other = DistilBertModel(DistilBertConfig(vocab_size=32, dim=24, n_heads=2, n_layers=1, hidden_dim=8))
    with pytest.raises(InvalidInputError, match="'distilbert'"):
        start(build("bert"), other)
