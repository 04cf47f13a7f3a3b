"""Terms of a recipe as a loss: what each compares, which layers with which, and the projections between widths."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from compress.distillation.capture import Needs, States, read_states
from compress.distillation.layers import Pairs, attention_pairs, describe_map, resolve_map
from compress.errors import InvalidInputError
from compress.losses.attention import attention_divergence, attention_mse
from compress.losses.hidden import hidden_cosine, hidden_mse
from compress.losses.masked_lm import IGNORED_LABEL, masked_lm_loss
from compress.losses.relations import check_relation_heads, relation_divergence
from compress.losses.soft_targets import (
    cross_entropy_to,
    mix_teachers,
    soft_divergence,
    soft_regression,
)
from compress.losses.task import task_loss
from compress.losses.tokens import widen
from compress.models.attention import Vectors
from compress.objective import Batch, Judgement, Mean, Objective
from compress.recipes.terms import (
    AttentionDistributionTerm,
    AttentionTerm,
    CosineTerm,
    HardTerm,
    HiddenTerm,
    MaskedLmTerm,
    RelationTerm,
    SoftTerm,
    Term,
)

MOST_RELATION_HEADS = 48
Teach = Callable[[Batch], States]


@dataclass(frozen=True)
class Comparison:
    """A term over two architectures.

    Attributes:
        name: Of the term, unlike the others'.
        term: Its recipe.
        pairs: Layers that are compared, (student's, teacher's).
        relation_heads: Of a relation.
        detail: What is compared, in words.
    """

    name: str
    term: Term
    pairs: Pairs = ()
    relation_heads: int = 0
    detail: str = ""


def compare_models(
    terms: Sequence[Term], *, student: PretrainedConfig, teacher: PretrainedConfig
) -> tuple[Comparison, ...]:
    """Settle what each term compares in two models.

    Raises:
        InvalidInputError: A term does not fit them: heads differ, a layer is not there.
    """
    names: Counter[str] = Counter()
    found = []
    for term in terms:
        comparison = _compare(term, student, teacher)
        names[comparison.name] += 1
        repeated = names[comparison.name]
        name = f"{comparison.name}_{repeated}" if repeated > 1 else comparison.name
        found.append(Comparison(name, term, comparison.pairs, comparison.relation_heads, comparison.detail))
    return tuple(found)


def describe_comparison(comparison: Comparison) -> str:
    """A term in one line: its weight, its name, what it compares."""
    return f"{comparison.term.weight:g} × {comparison.name.replace('_', ' ')}: {comparison.detail}"


def _compare(term: Term, student: PretrainedConfig, teacher: PretrainedConfig) -> Comparison:
    layers = {"student_layers": student.num_hidden_layers, "teacher_layers": teacher.num_hidden_layers}
    name, heads = str(term.loss), 0
    pairs: Pairs = ()
    match term:
        case HiddenTerm():
            pairs, detail = resolve_map(term.map, **layers), describe_map(term.map, **layers)
        case AttentionTerm():
            _require_heads(student, teacher)
            pairs = attention_pairs(resolve_map(term.map, **layers))
            detail = describe_map(term.map, **layers, attention=True)
        case AttentionDistributionTerm():
            _require_heads(student, teacher)
            pairs = _last_pair(term.teacher_layer, student, teacher)
            detail = _describe_last(pairs)
        case RelationTerm():
            pairs = _last_pair(term.teacher_layer, student, teacher)
            name, heads = f"{term.of}_relations", _relation_heads(term, student, teacher)
            detail = f"{heads} relation heads, {_describe_last(pairs)}"
        case CosineTerm():
            pairs = _last_pair(None, student, teacher)
            detail = _describe_last(pairs)
        case SoftTerm():
            detail = f"at temperature {term.temperature:g}"
        case HardTerm():
            detail = "gold labels"
        case MaskedLmTerm():
            detail = "hidden words"
    return Comparison(name, term, pairs, heads, detail)


class DistillationObjective(Objective):
    """A weighted sum of terms, and the learned projections from the student's width to the teacher's.

    A projection of equal widths starts at the identity. There is one for the embeddings and one for all layers
    (TinyBERT's W_e and W_h), and one for the last hidden state's direction.

    Args:
        comparisons: The terms.
        student: Its configuration.
        teacher: Its configuration.
        teach: What the teacher says of a batch's tokens; needed by terms that look inside it, or at its MLM head.
            Where it answers to the task as well, a batch brings no `teacher_logits`.
        teacher_weights: Of the teachers whose answers are in a batch's `teacher_logits`.
        seed: Of the projections.
    """

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        *,
        student: PretrainedConfig,
        teacher: PretrainedConfig,
        teach: Teach | None = None,
        teacher_weights: Sequence[float] = (1.0,),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.comparisons = tuple(comparisons)
        self.needs = student_needs(comparisons)
        self.teach = teach
        self.teacher_weights = teacher_weights
        wanted = [name for each in comparisons for name in _projections_of(each)]
        generator = torch.Generator().manual_seed(seed)
        self.projections = nn.ModuleDict(
            {
                name: _projection(student.hidden_size, teacher.hidden_size, generator=generator)
                for name in dict.fromkeys(wanted)
            }
        )

    def forward(self, model: nn.Module, batch: Batch) -> Judgement:
        """Every term, weighted; the logits where there are any."""
        student = read_states(model, batch, self.needs)
        teacher = self.teach(batch) if self.teach else States(None, (), {}, {})
        terms = {}
        for each in self.comparisons:
            value, count = self._term(each, student, teacher, batch)
            terms[each.name] = Mean(each.term.weight * value, count)
        logits = student.logits
        return Judgement(terms, None if logits is None else logits.float())

    def _term(
        self, each: Comparison, student: States, teacher: States, batch: Batch
    ) -> tuple[Tensor, Tensor | int]:
        """A term's value, and over how many things its mean was taken: tokens, where nothing else is said."""
        mask = batch["attention_mask"]
        count: Tensor | int = mask.sum()
        match each.term:
            case HiddenTerm():
                losses = [
                    hidden_mse(self._project(student.hidden[ours], ours), teacher.hidden[theirs], mask)
                    for ours, theirs in each.pairs
                ]
                value = torch.stack(losses).sum()
            case AttentionTerm():
                losses = [
                    attention_mse(student.scores[ours], teacher.scores[theirs], mask)
                    for ours, theirs in each.pairs
                ]
                value, count = torch.stack(losses).sum(), mask.sum(dim=1).square().sum()
            case AttentionDistributionTerm():
                ((ours, theirs),) = each.pairs
                value = attention_divergence(student.scores[ours], teacher.scores[theirs], mask)
            case RelationTerm(of=vectors):
                ((ours, theirs),) = each.pairs
                pair = student.vectors[ours][vectors], teacher.vectors[theirs][vectors]
                value = relation_divergence(*pair, mask, relation_heads=each.relation_heads)
            case CosineTerm():
                ((ours, theirs),) = each.pairs
                projected = self.projections["direction"](student.hidden[ours])
                value = hidden_cosine(projected, teacher.hidden[theirs], mask)
            case SoftTerm():
                value, count = self._soft(each.term, student, teacher, batch)
            case HardTerm():
                value, count = task_loss(_logits(student), batch["labels"]), len(mask)
            case MaskedLmTerm():
                value = masked_lm_loss(_logits(student), batch["labels"])
                count = (batch["labels"] != IGNORED_LABEL).sum()
        return value, count

    def _soft(
        self, term: SoftTerm, student: States, teacher: States, batch: Batch
    ) -> tuple[Tensor, Tensor | int]:
        logits = _logits(student)
        if teacher.logits is not None and teacher.logits.dim() == 3:  # an MLM head's, token by token
            counted = batch["attention_mask"].bool()
            if term.positions == "masked":
                counted = batch["labels"] != IGNORED_LABEL
            known = teacher.logits[..., : logits.shape[-1]]  # a table may be padded beyond the vocabulary
            loss = soft_divergence(logits, known, temperature=term.temperature, mask=counted)
            return loss, counted.sum()
        beside = teacher.logits
        answers = (
            batch["teacher_logits"].transpose(0, 1) if beside is None else widen(beside)[None]
        )  # [T, B, C]
        if batch["labels"].is_floating_point():
            shares = answers.new_tensor(list(self.teacher_weights)) / sum(self.teacher_weights)
            return soft_regression(logits, (answers * shares[:, None, None]).sum(dim=0)), len(logits)
        soft = mix_teachers(answers, list(self.teacher_weights), temperature=term.temperature)
        return cross_entropy_to(logits, soft, temperature=term.temperature), len(logits)

    def _project(self, states: Tensor, layer: int) -> Tensor:
        projected: Tensor = self.projections["layers" if layer else "embeddings"](states)
        return projected


def student_needs(comparisons: Sequence[Comparison]) -> Needs:
    """What the terms ask of the student."""
    return reduce(_join, (_needs(each, side=0) for each in comparisons), Needs())


def teacher_needs(comparisons: Sequence[Comparison], *, answers: bool) -> Needs:
    """What the terms ask of the teacher; `answers` says whether its logits are asked for now, or known before."""
    needs = reduce(_join, (_needs(each, side=1) for each in comparisons), Needs())
    return Needs(needs.logits and answers, needs.hidden, needs.scores, needs.vectors)


def deepest_layer(comparisons: Sequence[Comparison]) -> int:
    """The last of the teacher's layers that a term looks at."""
    return max((theirs for each in comparisons for _, theirs in each.pairs), default=0)


def _needs(each: Comparison, *, side: int) -> Needs:
    layers = frozenset(pair[side] for pair in each.pairs)
    match each.term:
        case HiddenTerm() | CosineTerm():
            return Needs(hidden=True)
        case AttentionTerm() | AttentionDistributionTerm():
            return Needs(scores=layers)
        case RelationTerm(of=vectors):
            return Needs(vectors={layer: frozenset[Vectors]({vectors}) for layer in layers})
        case SoftTerm():
            return Needs(logits=True)
        case HardTerm() | MaskedLmTerm():
            return Needs(logits=side == 0)


def _join(some: Needs, more: Needs) -> Needs:
    layers = {*some.vectors, *more.vectors}
    empty: frozenset[Vectors] = frozenset()
    return Needs(
        logits=some.logits or more.logits,
        hidden=some.hidden or more.hidden,
        scores=some.scores | more.scores,
        vectors={layer: some.vectors.get(layer, empty) | more.vectors.get(layer, empty) for layer in layers},
    )


def _projections_of(each: Comparison) -> list[str]:
    if isinstance(each.term, CosineTerm):
        return ["direction"]
    if isinstance(each.term, HiddenTerm):
        return ["layers" if ours else "embeddings" for ours, _ in each.pairs]
    return []


def _projection(narrow: int, wide: int, *, generator: torch.Generator) -> nn.Linear:
    projection = nn.Linear(narrow, wide)
    if narrow == wide:
        nn.init.eye_(projection.weight)
    else:
        nn.init.normal_(projection.weight, std=narrow**-0.5, generator=generator)
    nn.init.zeros_(projection.bias)
    return projection


def _logits(states: States) -> Tensor:
    if states.logits is None:
        raise RuntimeError("a term asks for logits of a model that was not asked for them")
    return widen(states.logits)


def _last_pair(teacher_layer: int | None, student: PretrainedConfig, teacher: PretrainedConfig) -> Pairs:
    chosen = teacher.num_hidden_layers if teacher_layer is None else teacher_layer
    return resolve_map(
        ((student.num_hidden_layers, chosen),),
        student_layers=student.num_hidden_layers,
        teacher_layers=teacher.num_hidden_layers,
    )


def _describe_last(pairs: Pairs) -> str:
    ((ours, theirs),) = pairs
    return f"student→teacher: {ours}→{theirs}"


def _relation_heads(term: RelationTerm, student: PretrainedConfig, teacher: PretrainedConfig) -> int:
    common = math.gcd(student.hidden_size, teacher.hidden_size)
    heads = term.relation_heads or max(
        number for number in range(1, MOST_RELATION_HEADS + 1) if common % number == 0
    )
    check_relation_heads(heads, student_width=student.hidden_size, teacher_width=teacher.hidden_size)
    return heads


def _require_heads(student: PretrainedConfig, teacher: PretrainedConfig) -> None:
    if student.num_attention_heads != teacher.num_attention_heads:
        raise InvalidInputError(
            f"The student has {student.num_attention_heads} attention heads, the teacher "
            f"{teacher.num_attention_heads}: their attention cannot be compared head by head.",
            "Take relations, which free the heads (--method minilm), a student with as many heads, or leave the "
            "attention term out of the student's file.",
        )
