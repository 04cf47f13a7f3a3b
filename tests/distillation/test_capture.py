"""What is recorded is what the model computes; and recording changes nothing."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from compress.distillation.capture import Needs, read_states, recording
from compress.models import attention
from compress.models.attention import ATTENTION
from tests.conftest import FAMILIES

LAYERS = 3
EVERY = range(1, LAYERS + 1)
ALL = frozenset({"query", "key", "value"})
EVERYTHING = Needs(hidden=True, scores=frozenset(EVERY), vectors=dict.fromkeys(EVERY, ALL))
WHOLE = torch.tensor([[2, 6, 12, 4, 8, 3], [2, 9, 7, 20, 11, 3]])
PADDED = torch.tensor([[2, 6, 12, 4, 8, 3], [2, 9, 7, 3, 0, 0]])


def batch_of(ids):
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": torch.zeros(len(ids))}


def inputs_of(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture
def model(tiny_model):
    def build(family, **changes):
        shape = {"num_hidden_layers": LAYERS, "initializer_range": 0.3} | changes
        return tiny_model(family, **shape).eval()

    return build


@pytest.mark.parametrize("ids", [WHOLE, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_eager_attention(model, family, ids):
    batch, model = batch_of(ids), model(family)
    with torch.no_grad(), recording(model, EVERYTHING):
        found = read_states(model, batch, EVERYTHING)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**inputs_of(batch), output_attentions=True).attentions
    hidden_keys = (batch["attention_mask"] == 0)[:, None, None, :]
    assert list(found.scores) == list(EVERY)
    for layer, probabilities in enumerate(expected, start=1):
        scores = found.scores[layer].masked_fill(hidden_keys, -torch.inf)
        assert_close(scores.softmax(dim=-1), probabilities, atol=1e-5, rtol=0)
        assert scores.isfinite().all() or ids is PADDED
        assert probabilities.std() > 0.01  # nearly uniform ones would agree whatever the scores


@pytest.mark.parametrize("ids", [WHOLE, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("needs", [EVERYTHING, Needs(hidden=True, scores=frozenset({2}))], ids=["all", "one"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_fused_attention(model, family, needs, ids):
    batch, model = batch_of(ids), model(family).double()
    assert model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        expected = model(**inputs_of(batch), output_hidden_states=True).hidden_states
        with recording(model, needs):
            found = read_states(model, batch, needs).hidden
    assert len(found) == len(expected) == LAYERS + 1
    for ours, theirs in zip(found, expected, strict=True):
        real = batch["attention_mask"].bool()
        assert_close(ours[real], theirs[real], atol=1e-10, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_queries_keys_and_values_are_those_of_the_layer(model, family):
    batch, model = batch_of(PADDED), model(family)
    attention = [part for part in model.modules() if isinstance(getattr(part, "query", None), nn.Linear)]
    assert len(attention) == (1 if family == "albert" else LAYERS)
    with torch.no_grad(), recording(model, EVERYTHING):
        found = read_states(model, batch, EVERYTHING)
        for layer in EVERY:
            part = attention[(layer - 1) % len(attention)]
            for name in ALL:
                expected = getattr(part, name)(found.hidden[layer - 1])
                assert_close(found.vectors[layer][name], expected, atol=1e-6, rtol=1e-5)


def test_a_shared_layer_is_recorded_once_a_use(model):
    """Guards an ALBERT of which only the last use is left, or all uses are one."""
    model = model("albert")
    with torch.no_grad(), recording(model, EVERYTHING):
        found = read_states(model, batch_of(WHOLE), EVERYTHING)
    assert len(found.scores) == len(found.vectors) == LAYERS
    assert len(found.hidden) == LAYERS + 1
    assert (found.scores[1] - found.scores[2]).abs().max() > 1e-3


def test_only_what_is_asked_for_is_kept(model):
    model = model("bert")
    needs = Needs(scores=frozenset({3}), vectors={2: frozenset({"key"})})
    with torch.no_grad(), recording(model, needs):
        found = read_states(model, batch_of(WHOLE), needs)
    assert (found.logits, found.hidden) == (None, ())
    assert set(found.scores) == {3}
    assert {layer: set(kept) for layer, kept in found.vectors.items()} == {2: {"key"}}


def test_layers_whose_scores_nobody_asks_for_run_fused_attention(model, monkeypatch):
    """Guards the speed and the memory of every other layer."""
    fused, run = [], attention.sdpa_attention_forward

    def counting(module, *arguments, **more):
        fused.append(module)
        return run(module, *arguments, **more)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counting)
    model = model("bert")
    needs = Needs(scores=frozenset({2}), vectors={3: ALL})
    with torch.no_grad(), recording(model, needs):
        read_states(model, batch_of(WHOLE), needs)
        assert len(fused) == LAYERS - 1
        model(**inputs_of(batch_of(WHOLE)))  # and where no recorder travels along, all do
        assert len(fused) == 2 * LAYERS - 1


def test_the_usual_attention_is_untouched_where_no_term_asks(model):
    model, needs = model("bert"), Needs(hidden=True)
    with torch.no_grad(), recording(model, needs):
        assert model.config._attn_implementation == "sdpa"
        found = read_states(model, batch_of(WHOLE), needs)
    assert found.scores == found.vectors == {}


@pytest.mark.parametrize("usual", ["sdpa", "eager"])
def test_the_usual_attention_comes_back(model, usual):
    model = model("albert")
    model.set_attn_implementation(usual)
    with recording(model, EVERYTHING):
        assert model.config._attn_implementation == ATTENTION
    assert model.config._attn_implementation == usual

    def fail():
        with recording(model, EVERYTHING):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.config._attn_implementation == usual


@pytest.mark.parametrize(
    "needs", [Needs(scores=frozenset({1})), Needs(vectors={1: ALL})], ids=["scores", "vectors"]
)
def test_attention_that_passes_by_the_recorder_is_told(model, needs):
    """Guards a loss over nothing: the model was not prepared, or calls its attention in a way of its own."""
    with pytest.raises(RuntimeError, match=r"0 attention layers were recorded of a bert with 3"):
        read_states(model("bert"), batch_of(WHOLE), needs)


def test_recorded_attention_drops_out_as_the_usual_does(model):
    """Guards a student that is trained without its dropout where its scores are asked for."""
    needs = Needs(hidden=True, scores=frozenset(EVERY))
    sure, unsure = (
        model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=share).train()
        for share in (0.0, 0.5)
    )
    for each, same in ((sure, True), (unsure, False)):
        with torch.no_grad(), recording(each, needs):
            once, again = (read_states(each, batch_of(WHOLE), needs).hidden[-1] for _ in range(2))
        assert torch.equal(once, again) == same
    with torch.no_grad(), recording(unsure.eval(), needs):
        once, again = (read_states(unsure, batch_of(WHOLE), needs).hidden[-1] for _ in range(2))
    assert torch.equal(once, again)


def test_scores_and_states_pass_gradients_on(model):
    model = model("albert")
    with recording(model, EVERYTHING):
        found = read_states(model, batch_of(PADDED), EVERYTHING)
    for part in (found.scores[1], found.vectors[1]["value"], found.hidden[0]):
        (gradient,) = torch.autograd.grad(
            part.square().sum(), model.embeddings.word_embeddings.weight, retain_graph=True
        )
        assert gradient.abs().max() > 0
