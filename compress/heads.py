"""Encoders without a task: with a head that guesses hidden tokens, or with no head at all."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from compress.encoder import Encoder, build_config, load_config, load_tokenizer, load_weights
from compress.errors import CompressError, InvalidInputError
from compress.integrity import explain_unloadable, find_layer, require_fitting, require_whole
from compress.recipes.pretraining import LEARNERS, ObjectiveName
from compress.recipes.schema import NewModel, Student

GENERATOR = "generator_predictions"
HEADS = ("cls", "lm_head", "predictions", GENERATOR)
"""What MLM heads are called: BERT's, RoBERTa's, ALBERT's, and that of ELECTRA's generator, which is in two parts."""

DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def build_bare(
    student: Student, tokenizer: PreTrainedTokenizerBase, *, seed: int, masked_lm: bool = False
) -> Encoder:
    """A student with random weights that answers no task yet, without a pooler.

    Args:
        student: Its recipe.
        tokenizer: Vocabulary size and special ids are taken from it.
        seed: Of the weights.
        masked_lm: Whether it has a head that guesses hidden tokens.
    """
    config = build_config(student.architecture, student.family, tokenizer)
    set_seed(seed)
    if masked_lm:
        return Encoder(AutoModelForMaskedLM.from_config(config), tokenizer)  # type: ignore[no-untyped-call]
    return Encoder(AutoModel.from_config(config, add_pooling_layer=False), tokenizer)  # type: ignore[no-untyped-call]


def build_learner(
    new: NewModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    objective: ObjectiveName,
    dropout: float | None,
    seed: int,
) -> Encoder:
    """A model with random weights and the heads that an objective of pretraining asks for.

    Args:
        new: Its family and its shape.
        tokenizer: Vocabulary size and special ids are taken from it.
        objective: What it will learn.
        dropout: In the place of its shape's; None leaves that.
        seed: Of the weights.
    """
    config = build_config(new.architecture, new.family, tokenizer)
    _set_dropout(config, dropout)
    set_seed(seed)
    return Encoder(_auto_class(objective).from_config(config), tokenizer)


def load_learner(path: Path, *, objective: ObjectiveName, dropout: float | None, seed: int) -> Encoder:
    """Load an encoder with the heads that an objective of pretraining asks for; those that it lacks are drawn.

    Args:
        path: A directory in Hugging Face format.
        objective: What it will learn.
        dropout: In the place of its own; None leaves that.
        seed: Of new heads' weights.

    Raises:
        InvalidInputError: Its family does not know the objective.
        CompressError: The weights are damaged.
    """
    require_learner(path, objective=objective)
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    _set_dropout(config, dropout)
    set_seed(seed)
    model, report = load_weights(path, config, _auto_class(objective))
    require_whole(path, model, report, complete=False)
    return Encoder(model, tokenizer)


def require_learner(path: Path, *, objective: ObjectiveName) -> None:
    """Refuse a model that cannot go on with an objective.

    Raises:
        InvalidInputError: Its family does not know it.
        CompressError: The configuration or the weights cannot be read.
    """
    if objective == "mlm":
        require_guessing(path)
        return
    kind = load_config(path).model_type
    if kind not in LEARNERS[objective]:
        raise InvalidInputError(
            f"{path} is a {kind!r} model, which cannot learn by {objective}.",
            f"That takes {' or '.join(sorted(LEARNERS[objective]))}. Another objective: --objective mlm",
        )


def dropouts_of(config: PretrainedConfig) -> dict[str, float]:
    """A configuration's probabilities of dropout, by the names of its fields."""
    return {name: getattr(config, name) for name in DROPOUTS if getattr(config, name, None) is not None}


def has_mlm_head(path: Path) -> bool:
    """Whether a directory's weights have a head that guesses hidden tokens; reads their names, loads none.

    Raises:
        CompressError: The configuration or the weights cannot be read, or are no encoder's.
    """
    return not _missing_matrices(path, load_config(path))


def require_mlm_head(path: Path, *, name: str) -> None:
    """Refuse weights that guess no hidden tokens, before they are loaded.

    Args:
        path: A directory in Hugging Face format.
        name: What its user calls it.

    Raises:
        InvalidInputError: They have no MLM head.
    """
    config = load_config(path)
    if lacking := _missing_matrices(path, config):
        _refuse_discriminator(repr(name), config)
        raise _headless(repr(name), lacking, name=name)


def load_masked_lm(path: Path, *, seed: int, allow_new_head: bool) -> Encoder:
    """Load an encoder with its head that guesses hidden tokens (MLM); the head's last layer is the word table.

    Args:
        path: A directory in Hugging Face format.
        seed: Of a new head's weights.
        allow_new_head: Draw a head where the weights bring none, as continued pretraining does.

    Raises:
        CompressError: There is no head and none may be drawn, it is an ELECTRA discriminator, or the weights are
            damaged.
    """
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    lacking = _missing_matrices(path, config)
    if lacking:
        _refuse_discriminator(str(path), config)
    if lacking and not allow_new_head:
        raise _headless(str(path), lacking)
    set_seed(seed)
    model, report = load_weights(path, config, AutoModelForMaskedLM)
    require_whole(path, model, report, complete=False)
    if not lacking and report["missing_keys"]:
        raise CompressError(
            f"The MLM head in {path} is not whole: {', '.join(sorted(report['missing_keys']))} missing.",
            "Bring the weights as save_pretrained wrote them.",
        )
    return Encoder(model, tokenizer)


def load_base(path: Path, *, layers: int | None = None) -> Encoder:
    """Load an encoder without any head or pooler.

    Args:
        path: A directory in Hugging Face format.
        layers: Only the first so many; default all.

    Raises:
        InvalidInputError: It has fewer layers, or they are of several kinds that are shared (ALBERT's groups).
        CompressError: The weights are damaged, or those of another configuration.
    """
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    whole = config.num_hidden_layers
    if layers is not None:
        _require_layers(path, config, layers)
        config.num_hidden_layers = layers
    kind = type(_build_empty(config, AutoModel))
    without = {"add_pooling_layer": False} if _takes_pooling(kind) else {}
    model, report = load_weights(path, config, AutoModel, **without)
    dropped = {
        name for name in report["unexpected_keys"] if config.num_hidden_layers <= find_layer(name) < whole
    }
    rest = {**report, "unexpected_keys": set(report["unexpected_keys"]) - dropped}
    require_whole(path, model, rest, complete=False)
    return Encoder(model, tokenizer)


def copy_mlm_head(student: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    """Start a student's MLM head from its teacher's, where both are of one kind and one width; the table is tied.

    Returns:
        Whether it was copied.
    """
    if student.config.model_type != teacher.config.model_type:
        return False
    ours, theirs = (
        {
            name: parameter
            for name, parameter in model.named_parameters()
            if not name.startswith(f"{model.base_model_prefix}.")
        }
        for model in (student, teacher)
    )
    if {name: value.shape for name, value in ours.items()} != {n: v.shape for n, v in theirs.items()}:
        return False
    with torch.no_grad():
        for name, parameter in ours.items():
            parameter.copy_(theirs[name])
    return True


def guess_tokens(model: Any, hidden: Tensor) -> Tensor:
    """The MLM head's logits of some tokens: `[..., H]` → `[..., V]`.

    Args:
        model: One that `load_masked_lm` gives.
        hidden: Its last hidden states, of all tokens or of those that matter.
    """
    if hasattr(model, GENERATOR):
        return model.generator_lm_head(model.generator_predictions(hidden))  # type: ignore[no-any-return]
    head = next(getattr(model, name) for name in HEADS if hasattr(model, name))
    return getattr(head, "predictions", head)(hidden)  # type: ignore[no-any-return]  # BERT's has a second one beside it


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    if dropout is not None:
        config.update(dict.fromkeys(dropouts_of(config), dropout))


def _auto_class(objective: ObjectiveName) -> Any:
    return AutoModelForMaskedLM if objective == "mlm" else AutoModelForPreTraining


def _missing_matrices(path: Path, config: PretrainedConfig) -> list[str]:
    """The matrices of an MLM head that the weights do not have; its last one is the word table, where they share it."""
    from safetensors import safe_open

    names: set[str] = set()
    try:
        for file in sorted(path.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                names.update(tensors.keys())
        model = _build_empty(config, AutoModelForMaskedLM)
    except Exception as error:  # safetensors' own error type is no public one
        raise explain_unloadable(path, error) from None
    if not names:
        raise explain_unloadable(path, FileNotFoundError("no *.safetensors"))
    tied = getattr(model, "all_tied_weights_keys", {})
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1
        and not name.startswith(f"{model.base_model_prefix}.")
        and name not in tied
        and name not in names
    ]


def require_guessing(path: Path) -> None:
    """Refuse weights that cannot be given an MLM head.

    Raises:
        CompressError: They are an ELECTRA discriminator's.
    """
    config = load_config(path)
    if _missing_matrices(path, config):
        _refuse_discriminator(str(path), config)
    model = _build_empty(config, AutoModelForMaskedLM)
    if not any(hasattr(model, name) for name in HEADS):
        raise CompressError(
            f"The MLM head of a {config.model_type!r} model is built in a way that is not known here.",
            "Take a BERT, RoBERTa, ELECTRA or ALBERT, or a model built like one of them.",
        )


def _refuse_discriminator(what: str, config: PretrainedConfig) -> None:
    if config.model_type == "electra":
        raise InvalidInputError(
            f"{what} is an ELECTRA discriminator, which has no MLM head: it says which tokens were replaced, not which "
            "they were.",
            "Distil it by a method that asks for no guesses (compress distill --method logits, tinybert or minilm), or "
            "take a BERT, RoBERTa or ALBERT with its MLM head.",
        )


def _headless(what: str, lacking: list[str], *, name: str = "MODEL") -> InvalidInputError:
    return InvalidInputError(
        f"{what} has no MLM head ({', '.join(lacking)} missing), so it guesses no hidden tokens.",
        f"Give it one: compress pretrain --from {name} --objective mlm --corpus CORPUS; or distil it by a method that "
        "asks for no guesses: compress distill --method logits, tinybert or minilm.",
    )


def _require_layers(path: Path, config: PretrainedConfig, layers: int) -> None:
    if not 1 <= layers <= config.num_hidden_layers:
        raise InvalidInputError(
            f"The first {layers} layers of {path} were asked for; it has {config.num_hidden_layers}.",
            f"Ask for 1 to {config.num_hidden_layers}.",
        )
    if layers < config.num_hidden_layers and getattr(config, "num_hidden_groups", 1) > 1:
        raise InvalidInputError(
            f"{path} shares its layers in {config.num_hidden_groups} groups, which depend on how many layers there are.",
            "Take all its layers.",
        )


def _takes_pooling(kind: type[PreTrainedModel]) -> bool:
    return "add_pooling_layer" in inspect.signature(kind.__init__).parameters


def _build_empty(config: PretrainedConfig, auto: Any) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(config)
    return model
