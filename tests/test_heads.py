"""MLM heads: found by their names, loaded, drawn anew where that is asked for; and encoders without heads."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, ElectraForPreTraining

from compress.errors import CompressError, InvalidInputError
from compress.heads import has_mlm_head, load_base, load_masked_lm
from tests.conftest import FAMILIES, tiny_config

IDS = torch.tensor([[2, 6, 12, 4, 3]])


@pytest.fixture
def saved(tmp_path, tokenizer):
    def save(model):
        model.eval().save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return save


def edit(folder, change):
    """Rewrite a directory's weights."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(change(tensors), file, metadata={"format": "pt"})


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def states(model):
    with torch.no_grad():
        return model.eval()(IDS, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("allow_new_head", [True, False])
def test_a_head_that_is_there_is_loaded(saved, tokenizer, family, allow_new_head):
    """Guards a head that is drawn over the trained one."""
    model = AutoModelForMaskedLM.from_config(tiny_config(family, tokenizer))
    for name, parameter in model.named_parameters():
        if "LayerNorm" in name or "layer_norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    folder = saved(model)
    assert has_mlm_head(folder)
    loaded = load_masked_lm(folder, seed=1, allow_new_head=allow_new_head)
    torch.testing.assert_close(logits(loaded.model), logits(model))
    assert len(loaded.tokenizer) == len(tokenizer)


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_a_new_head_is_drawn_by_its_seed_on_the_tied_table(saved, tiny_model, family):
    base = tiny_model(family)
    folder = saved(base)
    assert not has_mlm_head(folder)
    one, same, other = (load_masked_lm(folder, seed=seed, allow_new_head=True).model for seed in (1, 1, 2))
    assert torch.equal(logits(one), logits(same))
    assert not torch.allclose(logits(one), logits(other))
    assert one.get_output_embeddings().weight is one.get_input_embeddings().weight
    torch.testing.assert_close(states(one)[-1], states(base)[-1])


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_without_leave_no_head_is_drawn(saved, tiny_model, family):
    with pytest.raises(CompressError, match=r"no MLM head \(.*dense.weight missing\)") as caught:
        load_masked_lm(saved(tiny_model(family)), seed=0, allow_new_head=False)
    assert "compress pretrain --from MODEL --objective mlm" in caught.value.fix


@pytest.mark.parametrize("allow_new_head", [True, False])
def test_an_electra_discriminator_has_no_mlm_logits(saved, tokenizer, allow_new_head):
    folder = saved(ElectraForPreTraining(tiny_config("electra", tokenizer)))
    assert not has_mlm_head(folder)
    with pytest.raises(CompressError, match="discriminator") as caught:
        load_masked_lm(folder, seed=0, allow_new_head=allow_new_head)
    for method in ("logits", "tinybert", "minilm"):
        assert method in caught.value.fix


def test_bert_as_it_was_published_has_its_head(saved, tokenizer):
    """MLM and next sentence together, the norms under their old names, no copy of the tied bias."""
    model = AutoModelForPreTraining.from_config(tiny_config("bert", tokenizer))
    folder = saved(model)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(tensors):
        for new, name in old.items():
            tensors = {key.replace(new, name): tensor for key, tensor in tensors.items()}
        return tensors

    edit(folder, rename)
    assert has_mlm_head(folder)
    loaded = load_masked_lm(folder, seed=0, allow_new_head=False).model
    with torch.no_grad():
        torch.testing.assert_close(logits(loaded), model(IDS).prediction_logits)


def test_half_a_head_is_refused(saved, tokenizer):
    folder = saved(AutoModelForMaskedLM.from_config(tiny_config("bert", tokenizer)))
    edit(folder, lambda tensors: {k: v for k, v in tensors.items() if "transform.LayerNorm" not in k})
    with pytest.raises(CompressError, match=r"not whole: cls\.predictions\.transform\.LayerNorm"):
        load_masked_lm(folder, seed=0, allow_new_head=True)


@pytest.mark.parametrize("damage", ["no weights", "torn", "layers lack"])
def test_damaged_weights_are_refused(saved, tokenizer, damage):
    folder = saved(AutoModelForMaskedLM.from_config(tiny_config("bert", tokenizer)))
    file = folder / "model.safetensors"
    if damage == "no weights":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[:100])
    else:
        edit(folder, lambda tensors: {k: v for k, v in tensors.items() if "layer.1." not in k})
    for load in (lambda: load_masked_lm(folder, seed=0, allow_new_head=True), lambda: load_base(folder)):
        with pytest.raises(CompressError, match=r"no model.safetensors|no whole safetensors|lacks 16"):
            load()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [None, 1, 3])
def test_the_first_layers_give_the_first_states(saved, tokenizer, family, layers):
    """Whatever head the weights were saved with."""
    model = AutoModelForMaskedLM.from_config(tiny_config(family, tokenizer, num_hidden_layers=3))
    folder = saved(model)
    loaded = load_base(folder, layers=layers).model
    assert loaded.config.num_hidden_layers == (layers or 3)
    assert len(states(loaded)) == (layers or 3) + 1
    for found, wanted in zip(states(loaded), states(model), strict=False):
        torch.testing.assert_close(found, wanted)
    assert not [name for name, _ in loaded.named_parameters() if "pooler" in name]


@pytest.mark.parametrize("layers", [0, 4])
def test_no_more_layers_than_there_are(saved, tokenizer, layers):
    folder = saved(AutoModelForMaskedLM.from_config(tiny_config("bert", tokenizer, num_hidden_layers=3)))
    with pytest.raises(InvalidInputError, match=f"first {layers} layers .* it has 3"):
        load_base(folder, layers=layers)


def test_groups_of_shared_layers_are_not_cut(saved, tokenizer):
    """Guards a wrong layer taken silently: which group a layer is of depends on how many layers there are."""
    config = tiny_config("albert", tokenizer, num_hidden_layers=4, num_hidden_groups=2)
    folder = saved(AutoModelForMaskedLM.from_config(config))
    assert len(states(load_base(folder).model)) == 5
    with pytest.raises(InvalidInputError, match="in 2 groups"):
        load_base(folder, layers=2)


def test_layers_that_the_configuration_does_not_have_are_refused(saved, tokenizer):
    folder = saved(AutoModelForMaskedLM.from_config(tiny_config("bert", tokenizer, num_hidden_layers=3)))
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 2}))
    for layers in (None, 1):
        with pytest.raises(CompressError, match=r"layers that config\.json does not have"):
            load_base(folder, layers=layers)
