"""What a student is taught by: the terms of a loss, each a small recipe with a weight.

A stage minimizes the weighted sum of its terms. Each names what it compares (`loss`), and where it compares layers,
which with which. The formulas are in `compress.losses`.
"""

from typing import Annotated, Literal

from pydantic import Field

from compress.recipes.values import Frozen, Number, PositiveInt

Weight = Annotated[Number, Field(gt=0)]
Layer = Annotated[int, Field(ge=0, strict=True)]
LayerMap = (
    Literal["uniform", "first", "last"] | Annotated[tuple[tuple[Layer, Layer], ...], Field(min_length=1)]
)
"""Which of the student's layers learns from which of the teacher's: a rule's name, or pairs (student, teacher)
where 0 is the embeddings."""
Relation = Literal["query", "key", "value"]


class SoftTerm(Frozen):
    """The teacher's answers, at a temperature (Hinton et al. 2015): of the task, or of its MLM head for each token.

    For a regression it is the squared error to the teacher's score, and T has no meaning.
    `positions` matters to MLM logits alone: all tokens of the masked text, or the masked ones.
    """

    loss: Literal["soft"] = "soft"
    weight: Weight = 1.0
    temperature: Annotated[Number, Field(gt=0)] = 1.0
    positions: Literal["all", "masked"] = "all"


class HardTerm(Frozen):
    """The task's own loss, on gold labels."""

    loss: Literal["hard"] = "hard"
    weight: Weight = 1.0


class MaskedLmTerm(Frozen):
    """The words that were masked (Devlin et al. 2018)."""

    loss: Literal["masked_lm"] = "masked_lm"
    weight: Weight = 1.0


class CosineTerm(Frozen):
    """The direction of the last hidden state (Sanh et al. 2019)."""

    loss: Literal["cosine"] = "cosine"
    weight: Weight = 1.0


class HiddenTerm(Frozen):
    """Hidden states through a learned projection, the embeddings among them (Jiao et al. 2020, equations 8 and 9)."""

    loss: Literal["hidden"] = "hidden"
    weight: Weight = 1.0
    map: LayerMap = "uniform"


class AttentionTerm(Frozen):
    """Attention scores before the softmax (Jiao et al. 2020, equation 7); both need equally many heads."""

    loss: Literal["attention"] = "attention"
    weight: Weight = 1.0
    map: LayerMap = "uniform"


class AttentionDistributionTerm(Frozen):
    """Attention distributions of the last layer (Wang et al. 2020, MiniLM); both need equally many heads.

    `teacher_layer` counts from 1; by default it is the last.
    """

    loss: Literal["attention_distribution"] = "attention_distribution"
    weight: Weight = 1.0
    teacher_layer: PositiveInt | None = None


class RelationTerm(Frozen):
    """How tokens relate to each other in queries, keys or values of the last layer (Wang et al. 2021, MiniLMv2).

    Heads are concatenated and split into `relation_heads`, which must divide both widths; by default into as many as
    possible, at most 48 (the paper's number for width 768). Widths and heads of the two models are free.
    `teacher_layer` counts from 1; by default it is the last.
    """

    loss: Literal["relations"] = "relations"
    weight: Weight = 1.0
    of: Relation
    relation_heads: PositiveInt | None = None
    teacher_layer: PositiveInt | None = None


Term = Annotated[
    SoftTerm
    | HardTerm
    | MaskedLmTerm
    | CosineTerm
    | HiddenTerm
    | AttentionTerm
    | AttentionDistributionTerm
    | RelationTerm,
    Field(discriminator="loss"),
]
Terms = Annotated[tuple[Term, ...], Field(min_length=1)]

ANSWERS = frozenset({"soft", "hard"})
"""Terms that look at a classifier's logits, or at an MLM head's."""
STATES = frozenset({"cosine", "hidden", "attention", "attention_distribution", "relations"})
"""Terms that look inside both models, token by token."""
