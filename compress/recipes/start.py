"""How a student starts: from random numbers, or from its teacher."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from compress.recipes.values import Frozen, NonNegativeInt


def _tell_layers(value: object) -> str | None:
    if isinstance(value, str):
        return "(word)" if value in ("uniform", "mean") else None
    return "(list)" if isinstance(value, list | tuple) else None


Layers = Annotated[
    Annotated[Literal["uniform", "mean"], Tag("(word)")]
    | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), Tag("(list)")],
    Discriminator(
        _tell_layers,
        custom_error_type="layers",
        custom_error_message='expected "uniform", "mean" or a list of layers, counted from 0',
    ),
]


class FromTeacher(Frozen):
    """A student starts from its teacher's weights, cut to its shape.

    `layers` says which of the teacher's, counted from 0: "uniform", evenly spaced from the first to the last, and of
    those that the student shares the one in the middle; "mean", as "uniform", but what the student's layers share is
    the mean of the teacher's; or a list, one for each of the student's distinct layers.
    """

    layers: Layers = "uniform"


def _tell_start(value: object) -> str | None:
    if value == "random":
        return "(word)"
    return "(table)" if isinstance(value, dict | FromTeacher) else None


Start = Annotated[
    Annotated[Literal["random"], Tag("(word)")] | Annotated[FromTeacher, Tag("(table)")],
    Discriminator(
        _tell_start,
        custom_error_type="start",
        custom_error_message='expected "random", or a table [initialize] with layers = "uniform", "mean" or a list',
    ),
]


def describe_start(start: Start) -> str:
    """How a student starts, in a few words."""
    if start == "random":
        return "random start"
    layers = start.layers if isinstance(start.layers, str) else ", ".join(map(str, start.layers))
    return f"starts from its teacher, layers {layers}"
