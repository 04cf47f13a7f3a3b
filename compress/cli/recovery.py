"""What the options of a recovery say together."""

from compress.errors import InvalidInputError
from compress.planning import Options
from compress.recovery import Recovery


def read_recovery(
    *, recover: bool, teacher: str | None, allow_weak_teacher: bool, options: Options, steps: int = 1
) -> Recovery | None:
    """How a model recovers, if it does; several rounds ask for it.

    Raises:
        InvalidInputError: There is no round; or options of a recovery came without one.
    """
    if steps < 1:
        raise InvalidInputError(f"--steps is 1 or more, not {steps}.", "Leave it out for one.")
    if recover or steps > 1:
        return Recovery(steps, teacher, allow_weak_teacher, options)
    said = [name for name, value in options.training.items() if value is not None]
    unheeded = [f"--{name.replace('_', '-')}" for name in said]
    unheeded += ["--teacher"] * (teacher is not None) + ["--allow-weak-teacher"] * allow_weak_teacher
    unheeded += ["--select-on"] * (options.select_on != "holdout")
    if unheeded:
        raise InvalidInputError(
            f"{', '.join(unheeded)} would do nothing without --recover.",
            "Add --recover, or leave out what does nothing.",
        )
    return None
