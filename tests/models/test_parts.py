"""Parts by name agree with the anatomy, and every parameter is in one of them, once."""

import pytest
from transformers import AutoModelForSequenceClassification, DistilBertConfig

from compress.encoder import build_empty, count_parameters
from compress.models.anatomy import read_anatomy
from compress.models.configuration import HeadPrunedBertConfig, PartiallySharedAlbertConfig
from compress.models.parts import count_by_part, part_of
from tests.conftest import FAMILIES, tiny_config

SHARED = ("attention", "ffn")


def build(kind, tokenizer):
    if kind not in SHARED:
        return AutoModelForSequenceClassification.from_config(tiny_config(kind, tokenizer))
    fields = tiny_config("albert", tokenizer).to_dict()
    fields.pop("model_type")
    return AutoModelForSequenceClassification.from_config(PartiallySharedAlbertConfig(**fields, share=kind))


def in_parts(model):
    """Part → the modules that the anatomy says are its."""
    anatomy = read_anatomy(model)
    tables = anatomy.tables
    yield "embeddings", [tables.word, tables.position, tables.token_type, tables.norm, tables.projection]
    for layer in anatomy.layers:
        inside, ffn = layer.attention, layer.feed_forward
        yield "attention", [inside.query, inside.key, inside.value, inside.output, layer.attention_norm]
        yield "feed-forward", [ffn.inner, ffn.outer, layer.output_norm]
    yield "classifier", [model.classifier, anatomy.pooler]


@pytest.mark.parametrize("kind", [*FAMILIES, *SHARED])
def test_names_and_anatomy_agree(kind, tokenizer):
    model = build(kind, tokenizer)
    expected = {}
    for part, modules in in_parts(model):
        for module in filter(None, modules):
            expected.setdefault(part, set()).update(module.parameters())
    counts = count_by_part(model)
    assert counts == {part: sum(p.numel() for p in own) for part, own in expected.items()} | {"other": 0}
    assert sum(counts.values()) == count_parameters(model)


def test_what_was_pruned_and_trimmed_counts_as_it_is(tokenizer):
    """Guards the counts of graphs, which are built anew from their configuration."""
    whole = tiny_config("bert", tokenizer)
    fields = {**whole.to_dict(), "num_attention_heads": 1, "head_size": 8, "vocab_size": 11}
    fields.pop("model_type")
    pruned = count_by_part(build_empty(HeadPrunedBertConfig(**fields)))
    before = count_by_part(build_empty(whole))
    rows = len(tokenizer) - 11
    assert before["embeddings"] - pruned["embeddings"] == rows * 24
    assert before["attention"] - pruned["attention"] == 2 * (
        4 * 24 * 16 + 3 * 16
    )  # 2 layers, 16 of 24 columns
    assert before["feed-forward"] == pruned["feed-forward"]


def test_other_families_have_parts_too():
    config = DistilBertConfig(vocab_size=9, dim=8, hidden_dim=16, n_layers=1, n_heads=2)
    counts = count_by_part(build_empty(config))
    assert counts["other"] == 0
    assert counts["attention"] == 4 * (8 * 8 + 8) + 2 * 8
    assert counts["feed-forward"] == 8 * 16 + 16 + 16 * 8 + 8 + 2 * 8


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("bert.encoder.layer.0.attention.output.LayerNorm", "attention"),
        ("bert.encoder.layer.0.output.LayerNorm", "feed-forward"),
        ("albert.encoder.embedding_hidden_mapping_in", "embeddings"),
        ("albert.pooler_activation", "classifier"),
        ("model.albert.embeddings.word_embeddings.weight_quantized", "embeddings"),
        ("bert.encoder", "other"),
    ],
)
def test_a_path_tells_the_part(path, part):
    assert part_of(path) == part
