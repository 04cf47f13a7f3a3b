"""The options that several commands share, each declared once.

A command takes a group as one dictionary: `@takes(training=TRAINING)` puts the group's options on the command line and
hands their values on under the group's name. Names of training options are `transformers.TrainingArguments`'.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.cli.completion import completed

Group = Mapping[str, tuple[Any, Any]]
"""Name → (annotation, default)."""

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A run, runs/TASK/MODEL, a directory in Hugging Face format, a teacher, or a Hub id."
    ),
]

COMMON: Group = {
    "runs": (
        Annotated[Path, typer.Option("--runs", envvar="COMPRESS_RUNS", help="The store of runs.")],
        Path("runs"),
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")],
        False,
    ),
    "quiet": (Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")], False),
}

DATA: Group = {
    "glue": (
        Annotated[
            Path | None,
            typer.Option(
                "--glue",
                envvar="COMPRESS_GLUE",
                help="A local clone of the dataset nyu-mll/glue; default the Hub.",
            ),
        ],
        None,
    ),
}

MAKING: Group = {
    "seed": (Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of everything random.")], 42),
    "dry_run": (Annotated[bool, typer.Option("--dry-run", help="Print the plan and make nothing.")], False),
    "force": (Annotated[bool, typer.Option("--force", help="Redo the run although it is finished.")], False),
    "save_to": (
        Annotated[
            Path | None,
            typer.Option("--save-to", metavar="DIR", help="A new directory for a copy of the artefact."),
        ],
        None,
    ),
}

_TEACHING_PANEL = "Method (default: the student's)"


def _teaching(kind: Any, text: str, *names: str, default: Any = None) -> tuple[Any, Any]:
    return Annotated[kind, typer.Option(*names, help=text, rich_help_panel=_TEACHING_PANEL)], default


TEACHING: Group = {
    "method": _teaching(str | None, "logits, tinybert, minilm or triple.", "--method"),
    "budget": _teaching(str | None, "Whose schedule: published, or small (for two CPU cores).", "--budget"),
    "corpus": _teaching(
        str | None,
        "Documents of the general stage: a directory or a file, a Hub dataset, or `sample`.",
        "--corpus",
    ),
    "general": _teaching(
        bool, "Whether the general stage comes first.", "--general/--no-general", default=True
    ),
    "general_seed": _teaching(
        int,
        "Of the general stage, so that several seeds share one general student.",
        "--general-seed",
        default=42,
    ),
    "copies": _teaching(int | None, "Augmented texts of each; 0 makes none.", "--copies"),
    "temperature": _teaching(float | None, "Of the last stage's soft labels.", "--temperature"),
    "soft_weight": _teaching(float | None, "Of the last stage's soft labels; 0 drops them.", "--soft-weight"),
    "hard_weight": _teaching(float | None, "Of the last stage's gold labels; 0 drops them.", "--hard-weight"),
    "teacher_weights": _teaching(
        list[float] | None, "Of each --teacher, in their order; default equal.", "--teacher-weight"
    ),
    "allow_weak_teacher": _teaching(
        bool, "Go on with a teacher no better than a constant answer.", "--allow-weak-teacher", default=False
    ),
}

_SCHOOLING_PANEL = "Pretraining (default: the teacher's)"


def _schooling(kind: Any, text: str, *names: str) -> tuple[Any, Any]:
    return Annotated[kind | None, typer.Option(*names, help=text, rich_help_panel=_SCHOOLING_PANEL)], None


SCHOOLING: Group = {
    "budget": _schooling(str, "Whose schedule: published, or small (an hour on two CPU cores)."),
    "tokenizer": _schooling(str, "The model whose tokenizer is taken; default one that is trained."),
    "vocab_size": _schooling(int, "Pieces of the tokenizer that is trained."),
    "arrangement": _schooling(str, "Which sentences make an example, such as full-sentences."),
    "max_minutes": _schooling(float, "Ends after so many minutes, the learning rate with them."),
    "max_tokens": _schooling(int, "Ends after so many tokens, the learning rate with them."),
}

_PRUNING_PANEL = "What is removed (fractions of what is there)"


def _removal(kind: Any, text: str, *names: str, default: Any) -> tuple[Any, Any]:
    return Annotated[kind, typer.Option(*names, help=text, rich_help_panel=_PRUNING_PANEL)], default


PRUNING: Group = {
    "vocabulary": _removal(
        str | None, "Pieces to keep: so many, those that texts use most; or `used`.", default=None
    ),
    "layers": _removal(int, "Layers, or passes through a shared one.", default=0),
    "layer_rule": _removal(str, "Which layers: last, first, alternate or importance.", default="last"),
    "heads": _removal(
        float, "Attention heads, at an unchanged width; loads after import compress.", default=0.0
    ),
    "ffn": _removal(float, "Neurons of each feed-forward network.", default=0.0),
    "hidden": _removal(float, "Hidden width, and as many of the heads.", default=0.0),
    "embedding": _removal(float, "Width of factorized embedding tables.", default=0.0),
    "sparsity": _removal(
        float, "Single weights: a smaller file once it is compressed, no faster model.", default=0.0
    ),
}

_TARGET_PANEL = "A size instead of fractions"


def _target(kind: Any, text: str, *names: str) -> tuple[Any, Any]:
    return Annotated[kind | None, typer.Option(*names, help=text, rich_help_panel=_TARGET_PANEL)], None


TARGET: Group = {
    "target_size": _target(str, "Of the weights in fp32, such as 3MB."),
    "target_parameters": _target(int, "Number of parameters."),
    "shrink": _target(
        list[str],
        "What loses the common fraction that leads there: heads, ffn, hidden, embedding; default ffn and hidden.",
        "--shrink",
    ),
}

_RECOVERY_PANEL = "Recovery (the options of training are its own)"


def _recovery(kind: Any, text: str, *names: str, default: Any = None) -> tuple[Any, Any]:
    return Annotated[kind, typer.Option(*names, help=text, rich_help_panel=_RECOVERY_PANEL)], default


RECOVERY: Group = {
    "recover": _recovery(
        bool,
        "Distil it from the model as it was: after pruning, or in training that rounds as it will be quantized.",
        "--recover/--no-recover",
        default=False,
    ),
    "teacher": _recovery(str | None, "Who teaches, in the place of the model as it was.", "--teacher"),
    "allow_weak_teacher": _recovery(
        bool, "Go on with a teacher no better than a constant answer.", "--allow-weak-teacher", default=False
    ),
}
ROUNDS: Group = {"steps": _recovery(int, "Rounds of pruning, each with its recovery.", "--steps", default=1)}

_PANEL = "Training (default: the recipe's)"


def _training(kind: Any, text: str, *names: str) -> tuple[Any, Any]:
    return Annotated[kind | None, typer.Option(*names, help=text, rich_help_panel=_PANEL)], None


TRAINING: Group = {
    "learning_rate": _training(float, "Peak learning rate."),
    "num_train_epochs": _training(float, "Passes over the train split."),
    "max_steps": _training(int, "Optimizer steps; overrides the epochs."),
    "per_device_train_batch_size": _training(int, "Examples a step and device."),
    "gradient_accumulation_steps": _training(int, "Batches that share an optimizer step."),
    "lr_scheduler_type": _training(str, "linear, cosine, constant or constant_with_warmup."),
    "warmup_steps": _training(float, "Steps of warm-up; below 1, a share of all steps."),
    "weight_decay": _training(float, "AdamW's decoupled weight decay."),
    "adam_beta1": _training(float, "AdamW's first-moment decay."),
    "adam_beta2": _training(float, "AdamW's second-moment decay."),
    "adam_epsilon": _training(float, "AdamW's epsilon."),
    "max_grad_norm": _training(float, "Gradients are clipped to this norm; 0 clips nothing."),
    "bf16": _training(bool, "Train in bfloat16; default where it is fast.", "--bf16/--no-bf16"),
    "max_length": _training(int, "Tokens after which a text is cut."),
    "early_stopping_patience": _training(int, "Epochs without a better hold-out score before it stops."),
}

_QUANTIZATION_PANEL = "Method (default: its own)"


def _quantization(kind: Any, text: str, *names: str) -> tuple[Any, Any]:
    return Annotated[kind | None, typer.Option(*names, help=text, rich_help_panel=_QUANTIZATION_PANEL)], None


QUANTIZATION: Group = {
    "keep": _quantization(
        list[str],
        "A module that stays in full precision, by its name; * stands for any part of it.",
        "--keep",
    ),
    "max_drop": _quantization(
        float,
        "How far the primary score may fall on a held-out part of train; layers that hurt stay in full precision.",
        "--max-drop",
    ),
    "per_channel": _quantization(
        bool, "A scale for each output of a layer, or one for all.", "--per-channel/--per-tensor"
    ),
    "reduce_range": _quantization(
        bool,
        "Whether weights take 7 of 8 bits: right on any processor; default where this one's sums saturate.",
        "--reduce-range/--full-range",
    ),
    "graph": _quantization(str, "static-int8: qdq or operator.", "--graph"),
    "ranges": _quantization(
        str, "How a range follows from what is seen: minmax, entropy or percentile.", "--ranges"
    ),
    "block_size": _quantization(int, "Weights that share a scale: 16, 32, 64, 128 or 256.", "--block-size"),
    "symmetric": _quantization(
        bool, "Whether zero is the middle of each block's range.", "--symmetric/--asymmetric"
    ),
    "activations": _quantization(str, "What packed weights multiply: int8 or float32.", "--activations"),
    "format": _quantization(str, "fp16, bf16: onnx or transformers.", "--format"),
    "samples": _quantization(int, "Texts of the train split to calibrate on.", "--samples"),
}

SELECTION: Group = {
    "select_on": (
        Annotated[
            str,
            typer.Option(
                "--select-on",
                help="Where early stopping looks: holdout (of train), or validation (reports flag it).",
            ),
        ],
        "holdout",
    ),
}


def takes(**groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put groups of options on a command, and hand each group on as one dictionary; the rest is completed at TAB.

    Args:
        groups: Parameter of the command → the group that fills it.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        name = command.__name__.rstrip("_")
        own = [
            completed(parameter, command=name)
            for parameter in signature.parameters.values()
            if parameter.name not in groups
        ]
        shared = [
            completed(
                inspect.Parameter(
                    option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
                ),
                command=name,
            )
            for group in groups.values()
            for option, (annotation, default) in group.items()
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            dictionaries = {group: {name: values.pop(name) for name in groups[group]} for group in groups}
            command(**values, **dictionaries)

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
        del run.__wrapped__  # typer would unwrap it and see the original
        return run

    return decorate
