"""What the options of `prune` say together: what goes, and how small it is to be."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from compress.errors import InvalidInputError
from compress.planning import change_recipe
from compress.pruning.targets import Target, TargetPart, read_bytes
from compress.recipes.pruning import Removal
from compress.recipes.stages import Prune


def read_stage(removal: Mapping[str, Any], importance: str) -> Prune:
    """The stage; what decides the fractions may be a target yet.

    Raises:
        InvalidInputError: A fraction is out of range, or a word is none of those that are known.
    """
    remove = change_recipe(Removal(), {**removal, "vocabulary": _read_pieces(removal.get("vocabulary"))})
    return change_recipe(Prune(remove=remove), {"importance": importance})


def read_target(
    *, target_size: str | None, target_parameters: int | None, shrink: Sequence[str] | None
) -> Target | None:
    """The size to be reached, if one is.

    Raises:
        InvalidInputError: There are two, or none for what is to shrink; or a word is none of those that are known.
    """
    known: tuple[TargetPart, ...] = get_args(TargetPart)
    parts = tuple(part for part in known if part in (shrink or ("ffn", "hidden")))
    if unknown := sorted(set(shrink or ()) - set(known)):
        raise InvalidInputError(
            f"--shrink {unknown[0]!r} is no part of a model that can.", f"The parts are: {', '.join(known)}."
        )
    if target_size is not None and target_parameters is not None:
        raise InvalidInputError(
            "--target-size and --target-parameters are two targets.", "Leave out one of them."
        )
    if target_size is not None:
        return Target(read_bytes(target_size), "bytes", parts)
    if target_parameters is not None:
        return Target(target_parameters, "parameters", parts)
    if shrink:
        raise InvalidInputError(
            "--shrink would do nothing without a target.",
            "Name one: --target-size 3MB or --target-parameters N.",
        )
    return None


def _read_pieces(said: str | None) -> int | Literal["used"] | None:
    """How many pieces stay, by what `--vocabulary` says."""
    if said is None:
        return None
    if said == "used":
        return "used"
    if not said.isdecimal() or not int(said):
        raise InvalidInputError(
            f"--vocabulary {said} is no number of pieces.",
            "Give a whole number above 0, such as 8000, or the word used: those that the counted texts use.",
        )
    return int(said)
