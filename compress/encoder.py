"""Models and their tokenizers: built, loaded, saved. The one place that knows the Auto classes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AlbertConfig,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    ElectraConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    set_seed,
)

from compress.errors import CompressError, InvalidInputError, first_line
from compress.integrity import (
    explain_unloadable,
    require_encoder,
    require_fitting,
    require_start,
    require_vocabulary,
    require_whole,
)
from compress.models.configuration import PartiallySharedAlbertConfig
from compress.recipes.schema import Architecture, NewModel, Student
from compress.recipes.size import TOKEN_TYPES, embedding_width
from compress.recipes.values import Family
from compress.tasks import Task

logger = logging.getLogger(__name__)

COUNTED_FROM_PADDING = frozenset(
    {
        "roberta",
        "head_pruned_roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "data2vec-text",
        "longformer",
        "mpnet",
    }
)
"""Model types whose first token does not have position 0."""
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Encoder:
    """A model (a classifier or scorer, where nothing else is said) and the tokenizer that feeds it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def parameters(self) -> int:
        """Number of parameters, a shared tensor counted once."""
        return count_parameters(self.model)


def count_parameters(model: torch.nn.Module) -> int:
    """Number of parameters of a module; `Module.parameters` yields a shared tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory in Hugging Face format.

    Raises:
        CompressError: There is none, or it cannot be read.
    """
    require_vocabulary(path)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception on damaged files
        raise CompressError(
            f"The tokenizer in {path} cannot be loaded: {first_line(error)}",
            "Bring a directory that holds a tokenizer.json (or the vocabulary that its model type needs).",
        ) from None
    return tokenizer


def load_config(path: Path) -> PretrainedConfig:
    """The configuration of a directory in Hugging Face format.

    Raises:
        CompressError: It cannot be read, or names a kind of model that transformers does not know.
    """
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # whatever the classes of transformers make of a field that is none of theirs
        raise CompressError(
            f"{path / 'config.json'} describes no model: {' '.join(str(error).split())[:300]}",
            "Bring a directory in Hugging Face format whose config.json names a model_type of transformers.",
        ) from None
    require_encoder(path, config)
    return _in_one_kernel(config)


def _in_one_kernel(config: PretrainedConfig) -> PretrainedConfig:
    """Name the approximate GELU (ALBERT's) as PyTorch computes it at once, in a third of the time.

    `gelu_new` is the same function in eight operations: they differ by 2.4e-7 at the most.
    """
    if getattr(config, "hidden_act", None) == "gelu_new":
        config.hidden_act = "gelu_pytorch_tanh"
    return config


def load_encoder(path: Path, task: Task, *, seed: int) -> Encoder:
    """Load weights for a task, with a new classifier where the weights bring none.

    A classifier that is already there is kept if its label names are the task's, in whatever order; rows are then put
    into the task's order. One for other labels is drawn anew, and that is said: so a model of MNLI learns RTE (Phang et
    al. 2018).

    Args:
        path: A directory in Hugging Face format.
        task: Its labels are known.
        seed: Of a new classifier's weights.

    Raises:
        CompressError: The weights are damaged, no safetensors, or of another kind of model.
    """
    config = load_config(path)
    tokenizer = load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    order, classified = _label_order(config, task), _has_classifier(config)
    if not classified:
        _set_labels(config, task)
    set_seed(seed)
    model = load_classifier(path, config)
    if order is not None:
        reorder_labels(model, order, task)
    elif classified:
        _renew(model, task)
    return Encoder(model, tokenizer)


def _renew(model: PreTrainedModel, task: Task) -> None:
    """Draw a classifier anew that came with other labels: rows are matched by name or not at all."""
    logger.info(
        "  the classifier is drawn anew: it was for %s",
        ", ".join(map(str, (model.config.id2label or {}).values())),
    )
    _set_labels(model.config, task)
    layer, rows = output_layer(model), task.num_outputs
    model.num_labels = layer.out_features = rows  # type: ignore[assignment]
    layer.weight = torch.nn.Parameter(layer.weight.new_empty(rows, layer.in_features))
    torch.nn.init.normal_(layer.weight, std=getattr(model.config, "initializer_range", 0.02))
    if layer.bias is not None:
        layer.bias = torch.nn.Parameter(layer.bias.new_zeros(rows))


def load_finished(path: Path) -> Encoder:
    """Load a model as it was saved, its classifier included.

    Raises:
        CompressError: It is damaged, or parts of it (its classifier) are missing.
    """
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    return Encoder(load_classifier(path, config, complete=True), tokenizer)


def build_classifier(
    new: Student | NewModel, tokenizer: PreTrainedTokenizerBase, task: Task, *, seed: int
) -> Encoder:
    """A model with random weights, and another's tokenizer.

    Args:
        new: Its family and its shape.
        tokenizer: Vocabulary size and special ids are taken from it.
        task: Its labels are known.
        seed: Of the weights.
    """
    config = build_config(new.architecture, new.family, tokenizer)
    _set_labels(config, task)
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    return Encoder(model, tokenizer)


def build_config(shape: Architecture, family: Family, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The `transformers` configuration of an architecture over a tokenizer's vocabulary.

    What a recipe does not say is as the family was published: ALBERT's approximate GELU is its class's default,
    RoBERTa's single token type and its epsilon are not.
    """
    fields: dict[str, Any] = shape.model_dump(exclude={"share", "num_hidden_groups", "embedding_size"})
    fields |= {"vocab_size": len(tokenizer), "type_vocab_size": TOKEN_TYPES[family]}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if getattr(tokenizer, name) is not None:
            fields[name] = getattr(tokenizer, name)
    match family:
        case "bert":
            return BertConfig(**fields)
        case "roberta":
            return RobertaConfig(layer_norm_eps=1e-5, **fields)
        case "electra":
            return ElectraConfig(embedding_size=embedding_width(shape), **fields)
        case "albert":
            fields |= {
                "embedding_size": embedding_width(shape),
                "classifier_dropout_prob": shape.hidden_dropout_prob,
            }
            if shape.share in ("attention", "ffn"):
                return _in_one_kernel(PartiallySharedAlbertConfig(share=shape.share, **fields))
            # ALBERT says that nothing is shared by as many groups as layers.
            groups = shape.num_hidden_groups if shape.share == "all" else shape.num_hidden_layers
            return _in_one_kernel(AlbertConfig(num_hidden_groups=groups, **fields))


def save_encoder(encoder: Encoder, directory: Path, *, max_length: int) -> None:
    """Save model and tokenizer in plain Hugging Face format; each shared tensor is written once.

    The saved tokenizer has `max_length` as its `model_max_length`, so that `truncation=True` cuts elsewhere where it cut
    here.
    """
    tokenizer = encoder.tokenizer
    before, tokenizer.model_max_length = tokenizer.model_max_length, max_length
    try:
        tokenizer.save_pretrained(directory)
    finally:
        tokenizer.model_max_length = before
    encoder.model.save_pretrained(directory)


def model_inputs(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The inputs that a tokenizer makes for its model, in the order of `forward`."""
    return [name for name in MODEL_INPUTS if name in tokenizer.model_input_names]


def answers_task(path: Path, task: Task) -> bool:
    """Whether a saved model has a classifier with the task's labels, by name."""
    return _label_order(load_config(path), task) is not None


def longest_input(config: PretrainedConfig) -> int:
    """The number of tokens that a model has positions for, special ones included.

    RoBERTa and its kin count their positions from the padding id plus one, so they have as many fewer.

    Raises:
        CompressError: Its configuration does not say.
    """
    if not isinstance(getattr(config, "max_position_embeddings", None), int):
        raise CompressError(
            f"A {config.model_type!r} model does not say how many positions it has (max_position_embeddings).",
            "Bring an encoder with absolute positions, such as BERT, RoBERTa, ELECTRA or ALBERT.",
        )
    offset = (config.pad_token_id or 0) + 1 if config.model_type in COUNTED_FROM_PADDING else 0
    return int(config.max_position_embeddings) - offset


def require_positions(config: PretrainedConfig, max_length: int, *, name: str = "model") -> None:
    """Refuse texts that are longer than a model has positions for.

    Raises:
        InvalidInputError: They are.
    """
    longest = longest_input(config)
    if max_length > longest:
        raise InvalidInputError(
            f"The {name} takes at most {longest} tokens, not {max_length}.",
            f"Cut texts earlier: --max-length {longest}; of a student's first stages, max_length in its file.",
        )


def reorder_labels(model: PreTrainedModel, order: Sequence[int], task: Task) -> None:
    """Put a classifier's rows into the task's order of labels: new row i is the old row `order[i]`."""
    _set_labels(model.config, task)
    head = output_layer(model)
    with torch.no_grad():
        head.weight.copy_(head.weight[list(order)].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[list(order)].clone())


def output_layer(model: PreTrainedModel) -> torch.nn.Linear:
    """The linear layer that makes the logits: `classifier`, or `classifier.out_proj` (RoBERTa, ELECTRA)."""
    head: Any = model.classifier
    layer: torch.nn.Linear = getattr(head, "out_proj", head)
    return layer


def build_empty(config: PretrainedConfig) -> PreTrainedModel:
    """A classifier of that architecture without weights, on the `meta` device, in eval mode.

    Its attention is the eager one, whose matrix products can be seen one by one.
    """
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation="eager"
        )
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _has_classifier(config: PretrainedConfig) -> bool:
    return any("ForSequenceClassification" in name for name in config.architectures or ())


def _label_order(config: PretrainedConfig, task: Task) -> list[int] | None:
    """For each of the task's labels, its row in the checkpoint's classifier; None where a new one is needed."""
    if not _has_classifier(config):
        return None
    if task.labels is None:
        return [0] if config.num_labels == 1 else None
    rows = {str(label).lower(): int(row) for row, label in (config.id2label or {}).items()}
    wanted = [label.lower() for label in task.labels]
    return [rows[label] for label in wanted] if set(wanted) == set(rows) else None


def _set_labels(config: PretrainedConfig, task: Task) -> None:
    labels = task.labels or ("score",)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: row for row, label in enumerate(labels)}
    config.problem_type = "regression" if task.kind == "regression" else "single_label_classification"


def load_weights(
    path: Path, config: PretrainedConfig, auto: Any, *, quantized: bool = False, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model of an Auto class with a directory's weights in it, and what `from_pretrained` says of their tensors.

    Weights that bitsandbytes has quantized are loaded only where they are said to be welcome, to answer.

    Raises:
        CompressError: They cannot be loaded, or nothing can be made of them.
    """
    if not quantized:
        require_start(path, config)
    options |= {
        "use_safetensors": True,
        "output_loading_info": True,
        "dtype": torch.float32,
        "ignore_mismatched_sizes": True,  # they are reported, then refused by name
    }
    try:
        model, report = auto.from_pretrained(path, config=config, trust_remote_code=False, **options)
    except Exception as error:  # safetensors' own error type is no public one
        raise explain_unloadable(path, error) from None
    return model, report


def load_classifier(
    path: Path, config: PretrainedConfig, *, complete: bool = False, quantized: bool = False
) -> PreTrainedModel:
    """A sequence classifier with a directory's weights.

    Args:
        path: Holds them as safetensors.
        config: Their configuration.
        complete: Whether the classifier itself must be among them; else a missing one is drawn.
        quantized: Whether they may be in fewer bits: enough to answer, not to be trained or rewritten.

    Raises:
        CompressError: They are damaged, or another model's.
    """
    model, report = load_weights(path, config, AutoModelForSequenceClassification, quantized=quantized)
    require_whole(path, model, report, complete=complete)
    return model
