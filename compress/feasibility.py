"""Terms against what a stage has: whether its data and its teacher can give what they ask for."""

from collections.abc import Mapping, Sequence
from typing import Literal

from compress.encoder import load_config
from compress.errors import InvalidInputError
from compress.heads import has_mlm_head
from compress.recipes.terms import ANSWERS, STATES, Term
from compress.sources import Model

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


def require_mlm_head(teacher: Model) -> None:
    """Refuse a teacher of hidden words that cannot guess any.

    Raises:
        InvalidInputError: It has no MLM head.
    """
    if has_mlm_head(teacher.path):
        return
    if load_config(teacher.path).model_type == "electra":
        raise InvalidInputError(
            f"{teacher.name!r} is an ELECTRA discriminator, which has no MLM head: it says which words were replaced, not which "
            "they were; the triple loss needs its guesses.",
            "Take --method tinybert or minilm, or a BERT, RoBERTa or ALBERT teacher.",
        )
    raise InvalidInputError(
        f"{teacher.name!r} has no MLM head, and the triple loss needs its guesses.",
        f"Continue its pretraining with one: compress pretrain --from {teacher.name} --objective mlm --corpus CORPUS; "
        "or take --method tinybert or minilm.",
    )
