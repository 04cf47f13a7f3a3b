"""Tiny classifiers of all families, shared wholly, partly and not at all."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, set_seed

from compress.models.configuration import PartiallySharedAlbertConfig
from tests.conftest import tiny_config

KINDS = ("bert", "roberta", "electra", "albert", "groups", "attention", "ffn")
"""Four families, and ALBERTs of two groups, of a shared attention and of a shared feed-forward network."""
FACTORIZED = ("electra", "albert", "groups", "attention", "ffn")
IDS = torch.tensor([[2, 7, 8, 9, 21, 3], [2, 11, 3, 0, 0, 0]])
MASK = (IDS != 0).long()


@pytest.fixture
def classifier(tokenizer):
    """kind → a classifier of it, random weights, four layers, biases and norms among what is random."""

    def build(kind, **changes):
        changes = {"num_hidden_layers": 4, "num_labels": 3, "initializer_range": 0.3} | changes
        if kind in FACTORIZED:
            changes = {"embedding_size": 20} | changes
        set_seed(0)
        if kind in ("attention", "ffn"):
            plain = tiny_config("albert", tokenizer, **changes).to_dict()
            plain.pop("model_type")
            config = PartiallySharedAlbertConfig(share=kind, **plain)
        else:
            more = {"num_hidden_groups": 2} if kind == "groups" else {}
            config = tiny_config("albert" if kind == "groups" else kind, tokenizer, **(more | changes))
        model = AutoModelForSequenceClassification.from_config(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "bias" in name or "orm.weight" in name or "layer_norm.weight" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        return model

    return build


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS, attention_mask=MASK).logits


def batches(count=2):
    return [
        {"input_ids": IDS, "attention_mask": MASK, "labels": torch.tensor([number % 3, 1])}
        for number in range(count)
    ]
