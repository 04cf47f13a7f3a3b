"""Is a directory in Hugging Face format the encoder that it says it is? Asked before anything is trained on it.

`transformers` fills gaps silently: tensors that it does not find start from random numbers, and a tokenizer without
files knows five words. Training would go on for hours with either.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as DECODERS
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

from compress.artefacts import FORMATS
from compress.errors import CompressError, first_line

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""Any of these holds a tokenizer's vocabulary."""
LAYER = re.compile(r"layer\w*\.(\d+)\.")
NAMED = 3
"""So many tensors are named in a message, the others counted."""


def require_vocabulary(path: Path) -> None:
    """Refuse a directory without a vocabulary.

    Raises:
        CompressError: It holds none.
    """
    if not any(file for pattern in VOCABULARIES for file in path.glob(pattern)):
        raise CompressError(
            f"{path} holds no tokenizer: none of {', '.join(VOCABULARIES)}.",
            "Put the model's tokenizer there: AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIR).",
        )


def require_fitting(path: Path, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Refuse a tokenizer whose ids the model has no embedding for, or that cannot pad.

    Raises:
        CompressError: Tokenizer and model are not of one another.
    """
    largest = max(tokenizer.get_vocab().values(), default=-1)
    rows = getattr(config, "vocab_size", None)
    if rows is not None and largest >= rows:
        raise CompressError(
            f"The tokenizer in {path} has ids up to {largest}, the model's embedding has {rows} rows (its vocab_size).",
            "Bring the model's own tokenizer, or enlarge the model: model.resize_token_embeddings(len(tokenizer)).",
        )
    if tokenizer.pad_token_id is None:
        raise CompressError(
            f"The tokenizer in {path} has no padding token, so texts cannot share a batch.",
            'Name one in tokenizer_config.json, such as "pad_token": "[PAD]".',
        )


def require_start(path: Path, config: PretrainedConfig) -> None:
    """Refuse what a model was rewritten as: it answers, but nothing can be made of it.

    Raises:
        CompressError: It is a graph, or its weights are in fewer bits.
    """
    rewritten = [file for file in FORMATS if (path / file).is_file()]
    method = getattr(config, "quantization_config", None)
    if rewritten or method is not None:
        what = f"holds {rewritten[0]}" if rewritten else "holds weights that bitsandbytes has quantized"
        raise CompressError(
            f"{path} {what}: it can answer (predict, evaluate), but not be trained, pruned, quantized or exported.",
            "Name the model that it was made from.",
        )


def require_encoder(path: Path, config: PretrainedConfig) -> None:
    """Refuse a decoder, or a pair of encoder and decoder.

    Raises:
        CompressError: It is no encoder.
    """
    kind = config.model_type
    decodes = kind in DECODERS and kind not in ENCODERS
    if decodes or config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise CompressError(
            f"{path / 'config.json'}: {kind!r} is a model that writes text (a decoder), and compress works on encoders.",
            "Bring an encoder, such as BERT, RoBERTa, ELECTRA or ALBERT.",
        )


def require_whole(path: Path, model: PreTrainedModel, report: Mapping[str, Any], *, complete: bool) -> None:
    """Refuse weights that are not those of the configuration, where `transformers` would fill or drop tensors.

    Args:
        path: Where they come from.
        model: What was made of them.
        report: What `from_pretrained` says of missing, unexpected and mismatched tensors.
        complete: Whether the classifier, too, must be there; a pooler may always be missing, for not every way
            of pretraining has one.

    Raises:
        CompressError: They are others, or not finite.
    """
    file = path / "model.safetensors"
    mismatched = [
        f"{name} is {list(found)}, not {list(wanted)}" for name, found, wanted in report["mismatched_keys"]
    ]
    if mismatched:
        raise CompressError(
            f"{file} does not fit config.json: {_enumerate(sorted(mismatched))}.",
            "Bring the config.json that was saved with these weights.",
        )
    missing = sorted(report["missing_keys"])
    bare = model.base_model is model  # without a head its names have no prefix
    body = [
        name
        for name in missing
        if (bare or name.startswith(f"{model.base_model_prefix}.")) and "pooler" not in name
    ]
    if body:
        raise CompressError(
            f"{file} lacks {len(body)} of the encoder's tensors: {_enumerate(body)}.",
            "Bring weights of the model_type that config.json names, saved by save_pretrained.",
        )
    if complete and missing:
        raise CompressError(
            f"{path} is not fine-tuned: {_enumerate(missing)} are missing.",
            "Fine-tune it first: compress finetune MODEL --task TASK.",
        )
    surplus = sorted(name for name in report["unexpected_keys"] if find_layer(name) >= 0)
    if surplus:
        raise CompressError(
            f"{file} holds layers that config.json does not have: {_enumerate(surplus)}.",
            "Bring the config.json that was saved with these weights.",
        )
    _require_finite(file, model)
    _require_packed(file, model)


def find_layer(name: str) -> int:
    """The number of the layer that a tensor of that name belongs to, from 0; −1 if it belongs to none."""
    found = LAYER.search(name)
    return int(found[1]) if found else -1


def _require_finite(file: Path, model: PreTrainedModel) -> None:
    broken = [name for name, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CompressError(
            f"{file} holds NaN or infinite numbers in {_enumerate(broken)}.",
            "Bring weights from before its training diverged.",
        )


def _require_packed(file: Path, model: PreTrainedModel) -> None:
    """Refuse weights in full precision where the configuration says that bitsandbytes has quantized them."""
    layers = {
        name: module
        for name, module in model.named_modules()
        if type(module).__module__.startswith("bitsandbytes")
    }
    unpacked = [
        name
        for name, layer in layers.items()
        if getattr(layer.weight, "SCB", None) is None and getattr(layer.weight, "quant_state", None) is None
    ]
    if unpacked:
        raise CompressError(
            f"{file} holds no quantized weights for {_enumerate(unpacked)}, as config.json says that it does.",
            "Bring the config.json that was saved with these weights.",
        )


def explain_unloadable(path: Path, error: Exception) -> CompressError:
    """Whose fault it is that a model cannot be loaded: that of its weights, or that of its configuration."""
    from safetensors import safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        return CompressError(
            f"{path} holds no model.safetensors, and compress loads no pickles.",
            "Convert the weights: AutoModel.from_pretrained(DIR).save_pretrained(OTHER_DIR).",
        )
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except Exception as damage:  # safetensors' own error type is no public one
            return CompressError(
                f"{file} is no whole safetensors file: {first_line(damage)}.",
                "Bring the whole file (copy or download it again); compress loads no pickles.",
            )
    return CompressError(
        f"{path / 'config.json'} and the weights beside it make no model: {first_line(error)}.",
        "Bring a directory that save_pretrained wrote, its config.json unchanged.",
    )


def _enumerate(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
