"""What the shell offers at TAB: names that are there, read from file names alone.

Parameters of commands are completed by what they are called, so a new command's `task` needs no word about it. Where no
name fits, the shell completes paths by itself.
"""

import copy
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

KINDS = ("teachers", "students", "tasks", "methods")
METHODS = {
    "distill": {
        "logits": "soft labels (Hinton et al. 2015)",
        "tinybert": "hidden states and attention, on documents and on the task, then soft labels (Jiao et al. 2020)",
        "minilm": "self-attention relations on documents, then soft labels (Wang et al. 2021)",
        "triple": "DistilBERT's three terms on masked documents, then soft labels (Sanh et al. 2019)",
    },
    "pretrain": {
        "mlm": "hidden words (Devlin et al. 2018)",
        "nsp": "hidden words, and whether a segment follows another (Devlin et al. 2018)",
        "sop": "hidden words, and the order of two segments (Lan et al. 2020)",
        "rtd": "words that a generator has replaced (Clark et al. 2020)",
    },
    "prune": {
        "magnitude": "units of small weights go (Li et al. 2017)",
        "taylor": "units go that the loss needs least (Molchanov et al. 2019)",
        "random": "the control",
    },
}
"""Stage → method → what it is; methods of quantization say so themselves."""


def complete_kind(incomplete: str) -> list[str]:
    """Kinds that `list` knows."""
    return _starting(incomplete, KINDS)


def complete_teacher(incomplete: str) -> list[str]:
    """Names of teachers."""
    from compress.recipes.resolve import list_recipes

    return _starting(incomplete, list_recipes("teachers"))


def complete_student(incomplete: str) -> list[str]:
    """Names of students."""
    from compress.recipes.resolve import list_recipes

    return _starting(incomplete, list_recipes("students"))


def complete_task(incomplete: str) -> list[str]:
    """Names of tasks."""
    from compress.tasks import list_tasks

    return _starting(incomplete, [task.name for task in list_tasks()])


def complete_model(incomplete: str) -> list[str]:
    """Names that stand for a model: teachers, and students to be built."""
    return sorted({*complete_teacher(incomplete), *complete_student(incomplete)})


def complete_recipe(incomplete: str) -> list[str]:
    """Names that `show` knows: teachers, students, tasks."""
    return sorted({*complete_model(incomplete), *complete_task(incomplete)})


def complete_distillation(incomplete: str) -> list[str]:
    """Methods of distillation."""
    return _starting(incomplete, METHODS["distill"])


def complete_budget(incomplete: str) -> list[str]:
    """Whose schedule a method takes."""
    from compress.recipes.methods import Budget

    return _starting(incomplete, typing.get_args(Budget))


def complete_objective(incomplete: str) -> list[str]:
    """Objectives of pretraining."""
    return _starting(incomplete, METHODS["pretrain"])


def complete_arrangement(incomplete: str) -> list[str]:
    """Which sentences make an example of pretraining."""
    from compress.recipes.pretraining import Arrangement

    return _starting(incomplete, typing.get_args(Arrangement))


def complete_importance(incomplete: str) -> list[str]:
    """Who judges what is pruned."""
    return _starting(incomplete, METHODS["prune"])


def complete_layer_rule(incomplete: str) -> list[str]:
    """Which layers are pruned."""
    from compress.recipes.pruning import LayerRule

    return _starting(incomplete, typing.get_args(LayerRule))


def complete_quantization(incomplete: str) -> list[str]:
    """Methods of quantization."""
    from compress.recipes.quantization import METHODS as QUANTIZATIONS

    return _starting(incomplete, QUANTIZATIONS)


def complete_recipe_file(incomplete: str) -> list[str]:
    """TOML files that the typed path begins, or that lie in a directory that it begins."""
    typed = Path(incomplete)
    within = typed if incomplete.endswith("/") or not incomplete else typed.parent
    beginning = "" if within == typed else typed.name
    if not within.is_dir():
        return []
    found: list[Path] = []
    for path in within.iterdir():
        if path.name.startswith(beginning) and not path.name.startswith("."):
            found += path.glob("*.toml") if path.is_dir() else [path] * (path.suffix == ".toml")
    return sorted(map(str, found))


COMPLETIONS: Mapping[str, Callable[[str], list[str]]] = {
    "distill method": complete_distillation,
    "distill budget": complete_budget,
    "pretrain objective": complete_objective,
    "pretrain budget": complete_budget,
    "pretrain arrangement": complete_arrangement,
    "prune importance": complete_importance,
    "prune layer_rule": complete_layer_rule,
    "quantize method": complete_quantization,
    "show name": complete_recipe,
    "list kind": complete_kind,
    "validate files": complete_recipe_file,
    "model": complete_model,
    "tokenizer": complete_teacher,
    "teacher": complete_teacher,
    "student": complete_student,
    "task": complete_task,
}
"""A parameter's name, where need be after its command's → what completes it."""


def completed(parameter: inspect.Parameter, *, command: str) -> inspect.Parameter:
    """A command's parameter with what completes it, where its name is known here."""
    callback = COMPLETIONS.get(f"{command} {parameter.name}") or COMPLETIONS.get(parameter.name)
    if callback is None:
        return parameter
    kind, given = typing.get_args(parameter.annotation)
    option = copy.copy(given)
    option.autocompletion = callback
    return parameter.replace(annotation=typing.Annotated[kind, option])


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
