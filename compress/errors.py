"""What went wrong and how to mend it: the one exception type that users are meant to see."""


class CompressError(Exception):
    """An expected failure, told in two sentences.

    Args:
        problem: What happened, where, what was received and what was expected.
        fix: What the user can do about it; a command where there is one.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\n{self.fix}"


class UnknownNameError(CompressError):
    """A name that stands for nothing: a usage error (exit status 2)."""


class InvalidInputError(CompressError):
    """A recipe, task file or option that says something impossible: a usage error (exit status 2)."""


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line; its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
