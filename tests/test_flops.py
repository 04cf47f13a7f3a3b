"""Operations: by hand for a small BERT, as published for the models we speak of."""

import pytest
from transformers import AlbertConfig, BertConfig, DebertaV2Config

from compress.flops import count_flops
from tests.conftest import FAMILIES, tiny_config


def test_a_bert_by_hand(tokenizer):
    width, inner, length, batch, layers, labels = 24, 48, 10, 3, 2, 2
    config = tiny_config("bert", tokenizer, num_labels=labels)
    a_token = (
        4 * width * width + 2 * width * inner + 2 * length * width
    )  # projections, FFN, scores and values
    a_text = width * width + width * labels  # pooler and classifier
    expected = 2 * batch * (layers * length * a_token + a_text)
    assert count_flops(config, batch=batch, length=length) == expected


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (BertConfig(), 22.35),
        (
            BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
            2.87,
        ),
        (
            AlbertConfig(
                vocab_size=30522,
                embedding_size=128,
                hidden_size=312,
                num_hidden_layers=4,
                num_attention_heads=12,
                intermediate_size=1248,
            ),
            1.29,
        ),
    ],
    ids=["bert-base", "minilm-l6", "albert-tiny"],
)
def test_known_models(config, billions):
    assert count_flops(config, batch=1, length=128) / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_counts_and_layers_add_up(family, tokenizer):
    """Guards counting a shared layer once: it is computed as often as it is used."""
    two, four, six = (
        count_flops(tiny_config(family, tokenizer, num_hidden_layers=layers), batch=2, length=8)
        for layers in (2, 4, 6)
    )
    assert six - four == four - two > 0


def test_an_architecture_that_looks_at_values_is_not_counted():
    tiny = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    assert count_flops(DebertaV2Config(vocab_size=32, **tiny), batch=1, length=8) is None
