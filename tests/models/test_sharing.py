"""Layers that share their attention or their feed-forward network: once in memory, once on disk, once again after loading."""

import copy

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
    set_seed,
)

from compress.encoder import build_config, build_empty, count_parameters, load_finished
from compress.errors import InvalidInputError
from compress.flops import count_flops
from compress.models.configuration import PartiallySharedAlbertConfig
from compress.models.sharing import PLAIN_CLASSES, is_partially_shared, to_plain_albert
from compress.recipes.schema import Architecture

AUTO = {
    "Model": AutoModel,
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForMaskedLM": AutoModelForMaskedLM,
    "ForTokenClassification": AutoModelForTokenClassification,
}
SHARES = ("attention", "ffn")
LAYERS, WIDTH, INNER, TABLE = 3, 12, 20, 8
ATTENTION = 4 * (WIDTH * WIDTH + WIDTH) + 2 * WIDTH
FFN = WIDTH * INNER + INNER + INNER * WIDTH + WIDTH + 2 * WIDTH
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]])
MASK = (IDS != 0).long()


def build(share, head="ForSequenceClassification", **changes):
    shape = {
        "vocab_size": 32,
        "embedding_size": TABLE,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 3,
        "intermediate_size": INNER,
        "max_position_embeddings": 40,
    }
    set_seed(0)
    return AUTO[head].from_config(PartiallySharedAlbertConfig(share=share, **(shape | changes))).eval()


def layers_of(model):
    return [group.albert_layers[0] for group in model.base_model.encoder.albert_layer_groups]


def parts_of(layer):
    """Part → its parameters, by what the paper calls attention and feed-forward network."""
    attention = dict(layer.attention.named_parameters())
    others = {name: value for name, value in layer.named_parameters() if not name.startswith("attention.")}
    return {"attention": attention, "ffn": others}


def assert_shared(model, share):
    """One part has the same storage in all layers, the other one in none."""
    first, *others = map(parts_of, layers_of(model))
    assert others
    assert set(first["attention"]) == {
        f"{module}.{kind}"
        for module in ("query", "key", "value", "dense", "LayerNorm")
        for kind in ("weight", "bias")
    }
    for other in others:
        for part, parameters in first.items():
            same = [value.data_ptr() == other[part][name].data_ptr() for name, value in parameters.items()]
            assert all(same) if part == share else not any(same)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK)[0]


def stored(directory):
    with safe_open(directory / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("head", AUTO)
def test_saved_once_and_shared_again(share, head, tmp_path):
    model = build(share, head)
    assert_shared(model, share)
    model.save_pretrained(tmp_path)
    assert sum(stored(tmp_path).values()) == count_parameters(model)
    loaded, report = AUTO[head].from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(loaded) is type(model)
    assert_shared(loaded, share)
    assert count_parameters(loaded) == count_parameters(model)
    assert torch.equal(logits(loaded.eval()), logits(model))
    loaded.save_pretrained(tmp_path / "again")
    assert stored(tmp_path / "again") == stored(tmp_path)


@pytest.mark.parametrize("share", SHARES)
def test_an_encoder_goes_from_head_to_head(share, tmp_path):
    """Guards shared tensors that are drawn anew where only the encoder was saved."""
    model = build(share)
    model.base_model.save_pretrained(tmp_path)
    assert sum(stored(tmp_path).values()) == count_parameters(model.base_model)
    tagger = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert_shared(tagger, share)
    with torch.no_grad():
        for mine, theirs in zip(layers_of(model), layers_of(tagger), strict=True):
            assert torch.equal(mine.ffn.weight, theirs.ffn.weight)
            assert torch.equal(mine.attention.query.weight, theirs.attention.query.weight)


def test_sharing_does_not_hang_on_tied_word_tables(tmp_path):
    """Guards a switch of `transformers` for tied outputs, which would have the layers drawn anew."""
    model = build("attention", tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert_shared(loaded, "attention")
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize(("share", "shared", "own"), [("attention", ATTENTION, FFN), ("ffn", FFN, ATTENTION)])
def test_a_shared_part_counts_once(share, shared, own):
    encoder = build(share).base_model.encoder
    projection = TABLE * WIDTH + WIDTH
    assert count_parameters(encoder) == projection + shared + LAYERS * own


@pytest.mark.parametrize("share", SHARES)
def test_gradients_are_summed_over_the_uses(share):
    """One step of the shared parts is a step of the sum of what the copies would have got."""
    model = build(share, initializer_range=0.5)
    plain = to_plain_albert(model)
    for each in (model, plain):
        each(input_ids=IDS, attention_mask=MASK, labels=torch.tensor([0, 1])).loss.backward()
    mine = parts_of(layers_of(model)[0])[share]
    copies = [parts_of(layer)[share] for layer in layers_of(plain)]
    for name, parameter in mine.items():
        summed = sum(copy[name].grad for copy in copies)
        assert torch.allclose(parameter.grad, summed, rtol=1e-4, atol=1e-5), name
    assert any((copies[0][name].grad - parameter.grad).abs().max() > 1e-2 for name, parameter in mine.items())


@pytest.mark.parametrize("share", SHARES)
def test_sharing_survives_what_is_done_to_models(share):
    model = build(share)
    expected = logits(model)
    twin = copy.deepcopy(model)
    assert_shared(twin, share)
    assert layers_of(twin)[0].ffn.weight.data_ptr() != layers_of(model)[0].ffn.weight.data_ptr()
    assert_shared(twin.to(torch.float64).to(torch.float32), share)
    assert torch.equal(logits(twin), expected)
    twin.load_state_dict(model.state_dict())
    assert_shared(twin, share)
    twin.resize_token_embeddings(40)
    assert_shared(twin, share)
    assert torch.allclose(logits(twin), expected, atol=1e-6)
    twin.tie_weights()
    assert_shared(twin, share)


@pytest.mark.parametrize("share", SHARES)
def test_each_layer_is_seen_once(share):
    """Guards hooks on a shared module, which would record it once for each layer at each use."""
    model = build(share)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        seen = model(input_ids=IDS, attention_mask=MASK, output_hidden_states=True, output_attentions=True)
    assert len(seen.hidden_states) == LAYERS + 1
    assert len(seen.attentions) == LAYERS
    assert not torch.allclose(seen.hidden_states[1], seen.hidden_states[2])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("head", AUTO)
def test_a_plain_albert_answers_the_same(share, head, tmp_path):
    model = build(share, head)
    plain = to_plain_albert(model)
    assert type(plain) is PLAIN_CLASSES[type(model)]
    assert plain.config.model_type == "albert"
    assert not plain.training
    assert torch.allclose(logits(plain), logits(model), atol=1e-6)
    extra = (LAYERS - 1) * {"attention": ATTENTION, "ffn": FFN}[share]
    assert count_parameters(plain) == count_parameters(model) + extra
    plain.save_pretrained(tmp_path)
    assert "share" not in (tmp_path / "config.json").read_text().replace("partially_shared", "share")
    assert torch.allclose(logits(AUTO[head].from_pretrained(tmp_path).eval()), logits(model), atol=1e-6)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert logits(model).abs().max() > 0  # they are copies


def test_a_body_without_a_pooler_becomes_plain():
    body = build("ffn", "ForMaskedLM").base_model
    assert body.pooler is None
    assert torch.allclose(logits(to_plain_albert(body)), logits(body), atol=1e-6)


def test_only_what_shares_a_part_is_made_plain():
    tiny = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 8}
    bert = BertModel(BertConfig(vocab_size=9, **tiny))
    assert not is_partially_shared(bert)
    with pytest.raises(InvalidInputError, match="BertModel is none of the models"):
        to_plain_albert(bert)


def test_an_unknown_share_is_refused():
    with pytest.raises(Exception, match="share"):
        PartiallySharedAlbertConfig(share="half")


@pytest.mark.parametrize(("share", "groups"), [("all", 1), ("all", 2), ("none", 4)])
def test_what_transformers_has_is_left_to_it(share, groups, tokenizer):
    shape = Architecture(
        num_hidden_layers=4,
        hidden_size=WIDTH,
        num_attention_heads=3,
        intermediate_size=INNER,
        embedding_size=TABLE,
        share=share,
        num_hidden_groups=groups if share == "all" else 1,
    )
    config = build_config(shape, "albert", tokenizer)
    assert type(config) is AlbertConfig
    assert (config.num_hidden_groups, config.inner_group_num) == (groups, 1)
    assert isinstance(build_empty(config), AlbertForSequenceClassification)


def test_sharing_costs_no_operations():
    config = build("ffn").config
    plain = to_plain_albert(build("ffn")).config
    assert count_flops(config, batch=2, length=9) == count_flops(plain, batch=2, length=9) > 0


@pytest.mark.parametrize("share", SHARES)
def test_weights_of_the_other_kind_are_refused(share, tmp_path, tokenizer):
    """Guards a config.json that was put beside weights that share another part."""
    model = build(share, vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    other = "ffn" if share == "attention" else "attention"
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace(f'"share": "{share}"', f'"share": "{other}"'))
    with pytest.raises(Exception, match=r"lacks \d+ of the encoder's tensors"):
        load_finished(tmp_path)


REGISTRATION = [
    "import compress; from transformers import AutoModel",
    "from transformers import AutoModel; import compress",
    "import compress, importlib.util; importlib.util.find_spec('transformers.models.auto.configuration_auto')\n"
    "from transformers import AutoModel",  # whoever only asks whether a module is there uses nothing up
    "import compress; from transformers import AlbertConfig, AutoModel",  # ours derives from it
    "import compress; from transformers import AutoConfig, AutoModel; AutoConfig.for_model('partially_shared_albert')",
]


@pytest.mark.parametrize("imports", REGISTRATION)
def test_after_import_compress_the_auto_classes_know_it(imports, tmp_path, alone):
    build("ffn", "Model").save_pretrained(tmp_path)
    code = f"DIR = {str(tmp_path)!r}\n{imports}\nprint(type(AutoModel.from_pretrained(DIR)).__name__)"
    done = alone.run(code)
    assert done.stdout.strip() == "PartiallySharedAlbertModel", done.stderr
