"""A student's first weights, taken from its teacher (Sanh et al. 2019, section 3; Xu et al. 2024).

Layers are picked or averaged here, then fitted to the student's widths (`widths`); embedding tables are copied, cut or
factorized (`factorization`). A head is never copied, for its labels are the task's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.errors import InvalidInputError
from compress.models.anatomy import Anatomy, Attention, FeedForward, read_affine, read_anatomy
from compress.models.factorization import write_tables
from compress.models.widths import (
    Affine,
    cut_affine,
    strongest,
    write_affine,
    write_attention,
    write_feed_forward,
    write_norm,
)
from compress.recipes.start import FromTeacher

Part = Literal["attention", "attention_norm", "feed_forward", "output_norm"]
PARTS: tuple[Part, ...] = get_args(Part)
Pick = tuple[int, ...]
"""The teacher's layers, counted from 0, whose mean a part of the student is."""


@dataclass(frozen=True)
class Provenance:
    """Where a student's weights come from; pairs are (teacher, student).

    Attributes:
        attention: For each of the student's layers, the teacher's whose mean its attention is.
        feed_forward: The same for its feed-forward network.
        hidden_size: H.
        num_attention_heads: A.
        intermediate_size: Neurons of a feed-forward network.
        embedding_size: E.
        embedding_energy: Share of the embeddings' squared length that the student's tables kept.
        embedding_error: Distance of the student's first hidden states to the teacher's, relative to their spread.
    """

    attention: tuple[Pick, ...]
    feed_forward: tuple[Pick, ...]
    hidden_size: tuple[int, int]
    num_attention_heads: tuple[int, int]
    intermediate_size: tuple[int, int]
    embedding_size: tuple[int, int]
    embedding_energy: float
    embedding_error: float


@torch.no_grad()
def initialize_from_teacher(
    student: PreTrainedModel, teacher: PreTrainedModel, how: FromTeacher
) -> Provenance:
    """Replace a student's random weights, all but its head's, by its teacher's; no random state is touched.

    Args:
        student: BERT or ALBERT, with or without a head; changed in place.
        teacher: BERT, RoBERTa, ELECTRA or ALBERT, with or without a head; of the same vocabulary.
        how: Which layers.

    Raises:
        InvalidInputError: The layers named are not the teacher's, or not as many as the student's; the teacher is
            built in another way, or has fewer pieces.
    """
    own, theirs = read_anatomy(student), read_anatomy(teacher)
    kept = strongest(_energy(theirs), own.hidden_size)
    sources = {part: choose_sources(own, part, how, count=len(theirs.layers)) for part in PARTS}
    fit = write_tables(own.tables, theirs.tables, kept)
    for part, picks in sources.items():
        targets = {getattr(layer, part): pick for layer, pick in zip(own.layers, picks, strict=True)}
        for target, pick in targets.items():
            given = [getattr(theirs.layers[index], part) for index in pick]
            _write_part(target, given, kept, heads=(theirs.num_heads, own.num_heads))
    if own.pooler is not None and theirs.pooler is not None:
        write_affine(own.pooler, cut_affine(read_affine(theirs.pooler), rows=kept, columns=kept))
    return Provenance(
        attention=sources["attention"],
        feed_forward=sources["feed_forward"],
        hidden_size=(theirs.hidden_size, own.hidden_size),
        num_attention_heads=(theirs.num_heads, own.num_heads),
        intermediate_size=(_intermediate_size(theirs), _intermediate_size(own)),
        embedding_size=(_embedding_size(theirs), _embedding_size(own)),
        embedding_energy=fit.energy,
        embedding_error=fit.error,
    )


def pick_layers(count: int, wanted: int) -> Pick:
    """As many layers as wanted, evenly spaced from the first to the last: 12 → 6 gives 0, 2, 4, 7, 9, 11.

    One is the one in the middle (the lower of two).
    """
    if wanted == 1:
        return ((count - 1) // 2,)
    return tuple(round(index * (count - 1) / (wanted - 1)) for index in range(wanted))


def choose_sources(student: Anatomy, part: Part, how: FromTeacher, *, count: int) -> tuple[Pick, ...]:
    """For each of the student's layers, the teacher's layers whose mean that part of it is.

    A part that several layers share is, of their picks, the middle one (the lower of two); by "mean" it is the mean of all
    the teacher's layers in their stretch, and only what no other layer shares is picked.

    Args:
        student: Which of its layers share the part.
        part: Of a layer.
        how: Which layers.
        count: The teacher's layers.

    Raises:
        InvalidInputError: The layers named are not the teacher's, or not as many as the student's distinct ones.
    """
    depth = len(student.layers)
    picks = pick_layers(count, depth)
    if not isinstance(how.layers, str):
        _require_fitting(how.layers, blocks=max(student.blocks) + 1, count=count)
        picks = tuple(how.layers[block] for block in student.blocks)
    modules = [getattr(layer, part) for layer in student.layers]
    uses = {module: [use for use, each in enumerate(modules) if each == module] for module in modules}

    def source(used: Sequence[int]) -> Pick:
        if how.layers == "mean" and len(used) > 1:
            return tuple(range(used[0] * count // depth, -(-(used[-1] + 1) * count // depth)))
        return (picks[used[(len(used) - 1) // 2]],)

    return tuple(source(uses[module]) for module in modules)


def _require_fitting(layers: Pick, *, blocks: int, count: int) -> None:
    listed = ", ".join(map(str, layers))
    if len(layers) != blocks:
        raise InvalidInputError(
            f"initialize.layers names {len(layers)} of the teacher's layers ({listed}); "
            f"the student has {blocks} distinct {'layer' if blocks == 1 else 'layers'}.",
            f'Name {blocks}, or take "uniform" or "mean".',
        )
    if max(layers) >= count:
        raise InvalidInputError(
            f"initialize.layers names layer {max(layers)} ({listed}); "
            f"the teacher has {count} layers, counted from 0 to {count - 1}.",
            f'Name layers from 0 to {count - 1}, or take "uniform" or "mean".',
        )


def _energy(teacher: Anatomy) -> Tensor:
    """The mean square of each coordinate of the hidden states, for a LayerNorm's output is gain · (0 ± 1) + bias."""
    norms = [norm for layer in teacher.layers for norm in (layer.attention_norm, layer.output_norm)]
    return torch.stack([norm.weight.square() + norm.bias.square() for norm in norms]).sum(dim=0)


def _write_part(
    target: Attention | FeedForward | nn.LayerNorm,
    given: Sequence[Any],
    kept: Tensor,
    *,
    heads: tuple[int, int],
) -> None:
    match target:
        case Attention():
            write_attention(
                target,
                query=cut_affine(_mean(each.query for each in given), columns=kept),
                key=cut_affine(_mean(each.key for each in given), columns=kept),
                value=cut_affine(_mean(each.value for each in given), columns=kept),
                output=cut_affine(_mean(each.output for each in given), rows=kept),
                heads=heads,
            )
        case FeedForward():
            write_feed_forward(
                target,
                inner=cut_affine(_mean(each.inner for each in given), columns=kept),
                outer=cut_affine(_mean(each.outer for each in given), rows=kept),
            )
        case _:
            gain, bias = _mean(given)
            write_norm(target, gain[kept], bias[kept])


def _mean(modules: Iterable[nn.Linear | nn.LayerNorm]) -> Affine:
    weights, biases = zip(*map(read_affine, modules), strict=True)
    return torch.stack(weights).mean(dim=0), torch.stack(biases).mean(dim=0)


def _intermediate_size(anatomy: Anatomy) -> int:
    return anatomy.layers[0].feed_forward.inner.out_features


def _embedding_size(anatomy: Anatomy) -> int:
    return anatomy.tables.word.embedding_dim
