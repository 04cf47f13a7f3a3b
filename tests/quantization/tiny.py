"""Encoders small enough to be rewritten in a test, and wide enough for every method."""

from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase, set_seed

from compress.encoder import Encoder, model_inputs
from compress.models.configuration import PartiallySharedAlbertConfig
from compress.parity import random_batches
from tests.conftest import tiny_config

KINDS = ("bert", "albert", "partly shared")
SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "initializer_range": 0.1,  # at 0.02 tiny models answer much the same to whatever they are asked
}
PRODUCTS = {"bert": 2 * 6, "albert": 2 * 6 + 1, "partly shared": 2 * 6 + 1}
"""Uses of a weight in the layers and in the step to their width; pooler and classifier apart."""
WEIGHTS = {"bert": 2 * 6, "albert": 6 + 1, "partly shared": 4 + 2 * 2 + 1}
"""Distinct weights: what is shared counts once."""


def build(kind: str, tokenizer: PreTrainedTokenizerBase, **changes: object) -> Encoder:
    set_seed(0)
    family = "bert" if kind == "bert" else "albert"
    more = {"embedding_size": 64} if family == "albert" else {}
    config = tiny_config(family, tokenizer, **(SIZES | more | changes))
    if kind == "partly shared":
        fields = {name: value for name, value in config.to_dict().items() if name != "model_type"}
        config = PartiallySharedAlbertConfig(**fields, share="attention")
    return Encoder(AutoModelForSequenceClassification.from_config(config).eval(), tokenizer)


def batches(encoder: Encoder) -> list:
    return random_batches(encoder.model.config, model_inputs(encoder.tokenizer))
