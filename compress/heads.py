"""Models that answer no task: bare encoders, and encoders with an MLM head. Built and loaded as `encoder` does others."""

from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from compress.encoder import Encoder, build_config, load_config, load_tokenizer
from compress.errors import CompressError
from compress.integrity import explain_unloadable, require_fitting, require_whole
from compress.recipes.schema import Student

Head = Literal["masked_lm"] | None
MLM_HEADS = ("cls.predictions.", "lm_head.", "generator_predictions.", "generator_lm_head.", "predictions.")
"""How the names of an MLM head's tensors begin: BERT, RoBERTa, ELECTRA's generator, ALBERT."""


def build_bare(student: Student, tokenizer: PreTrainedTokenizerBase, *, seed: int, head: Head) -> Encoder:
    """A student with random weights that answers no task yet.

    Args:
        student: Its recipe.
        tokenizer: Vocabulary size and special ids are taken from it.
        seed: Of the weights.
        head: An MLM head, or none.
    """
    config = build_config(student.architecture, student.family, tokenizer)
    set_seed(seed)
    if head == "masked_lm":
        return Encoder(AutoModelForMaskedLM.from_config(config), tokenizer)  # type: ignore[no-untyped-call]
    return Encoder(AutoModel.from_config(config, add_pooling_layer=False), tokenizer)  # type: ignore[no-untyped-call]


def load_base(path: Path, *, layers: int | None = None) -> Encoder:
    """Load an encoder without pooler and heads.

    Args:
        path: A directory in Hugging Face format.
        layers: Only so many of its layers, the first ones; default all. Where groups of layers share parameters
            (ALBERT), all are kept: which group a layer belongs to depends on their number.

    Raises:
        CompressError: The weights are damaged, no safetensors, or of another kind of model.
    """
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    cut = layers is not None and getattr(config, "num_hidden_groups", 1) == 1
    if layers is not None and cut:
        config.num_hidden_layers = layers
    pooler = {} if config.model_type == "electra" else {"add_pooling_layer": False}
    model, report = _load(AutoModel, path, config, **pooler)
    if cut:
        report["unexpected_keys"] = []
    require_whole(path, model, report, complete=False)
    return Encoder(model, tokenizer)


def load_masked_lm(path: Path, *, seed: int | None = None) -> Encoder:
    """Load an encoder with its MLM head.

    Args:
        path: A directory in Hugging Face format.
        seed: Of a head that is drawn where there is none, its table tied to the embeddings; None draws none.

    Raises:
        CompressError: The weights are damaged, or have no MLM head and none may be drawn.
    """
    if seed is None and not has_masked_lm_head(path):
        raise CompressError(
            f"{path} has no MLM head.",
            "Continue its pretraining with one: compress pretrain --from MODEL --objective mlm --corpus CORPUS.",
        )
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    set_seed(seed or 0)
    model, report = _load(AutoModelForMaskedLM, path, config)
    require_whole(path, model, report, complete=False)
    return Encoder(model, tokenizer)


def has_masked_lm_head(path: Path) -> bool:
    """Whether a directory's weights hold an MLM head; only names are read."""
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as stored:
                names = list(stored.keys())
        except Exception as error:  # safetensors' own error type is no public one
            raise explain_unloadable(path, error) from None
        if any(name.startswith(MLM_HEADS) for name in names):
            return True
    return False


def _load(
    auto: Any, path: Path, config: PretrainedConfig, **more: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    options: dict[str, Any] = {
        "use_safetensors": True,
        "output_loading_info": True,
        "dtype": torch.float32,
        "ignore_mismatched_sizes": True,  # they are reported, then refused by name
    }
    try:
        model, report = auto.from_pretrained(path, config=config, **options, **more)
    except Exception as error:  # safetensors' own error type is no public one
        raise explain_unloadable(path, error) from None
    return model, dict(report)
