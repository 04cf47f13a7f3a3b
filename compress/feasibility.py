"""Terms against what a stage has: whether its data and its teacher can give what they ask for."""

from collections.abc import Mapping, Sequence
from typing import Literal

from compress.errors import InvalidInputError
from compress.recipes.terms import ANSWERS, STATES, Term

LearnedFrom = Literal["documents", "masked documents", "a task's texts", "a task's answers"]
POSSIBLE: Mapping[LearnedFrom, frozenset[str]] = {
    "documents": STATES,
    "masked documents": STATES | {"soft", "masked_lm"},
    "a task's texts": STATES,
    "a task's answers": STATES | ANSWERS,
}
"""What a stage learns from → the terms that it can have."""


def require_possible(terms: Sequence[Term], source: LearnedFrom) -> None:
    """Refuse terms that a stage's data have nothing for.

    Raises:
        InvalidInputError: There are such terms, or none that a last stage can be scored by.
    """
    allowed = POSSIBLE[source]
    unfit = sorted({str(term.loss) for term in terms} - allowed)
    if unfit:
        raise InvalidInputError(
            f"The terms {', '.join(unfit)} cannot be had of {source}.",
            f"That stage may have {', '.join(sorted(allowed))}: mend its terms in the student's file.",
        )
    if source == "a task's answers" and not any(term.loss in ANSWERS for term in terms):
        raise InvalidInputError(
            "The last stage has no term for the classifier, which would stay as it was drawn.",
            "Add soft or hard to its terms in the student's file.",
        )
