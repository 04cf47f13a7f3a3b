"""The embedding tables at another width, so that the student's first hidden state is as near as can be to its teacher's.

Both are measured on a sample of (piece, position) pairs, drawn with a fixed generator. Pieces are drawn by
Zipf's law over their ids: in the vocabularies of all four families ids rise as pieces get rarer.

- Tables as wide as the teacher's are copied, with their LayerNorm and their projection.
- Factorized tables of another width E (ALBERT, section 3.1): the teacher's tables, each row centred, times the
  E right singular vectors of the sample's normalized sums. The singular values stay with the tables, for the
  LayerNorm that follows undoes a row's scale as the teacher's did. The vectors are turned so that the weakest is the
  direction that this LayerNorm takes away. Then the projection is a ridge regression onto the teacher's first
  hidden states.
- Tables that are as wide as the student's layers: the coordinates that stay. Gain and bias of the LayerNorm are a
  least-squares fit per coordinate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.errors import InvalidInputError
from compress.models.anatomy import Tables, read_affine
from compress.models.widths import cut_affine, write_affine

SAMPLE = 20_000
"""Pairs of piece and position: enough for regressions onto a few hundred inputs."""
POSITIONS = 128
"""Those that texts have most often."""
ZIPF_SHIFT = 100
RIDGE = 1e-4
"""Relative to inputs of unit variance."""


Rows = tuple[Tensor, Tensor, Tensor]
"""Word, position (from the first token's) and token-type rows: `[V, E]`, `[P, E]`, `[T, E]`."""


@dataclass(frozen=True)
class TableFit:
    """How near the student's first hidden states came.

    Attributes:
        energy: Share of the normalized embeddings' squared length that the student's tables kept.
        error: Distance to the teacher's first hidden states, relative to their spread (0 is exact, 1 is none of it).
    """

    energy: float
    error: float


def write_tables(student: Tables, teacher: Tables, kept: Tensor) -> TableFit:
    """Fill a student's tables, their LayerNorm and projection.

    Args:
        student: To be written.
        teacher: To be read.
        kept: The coordinates of the teacher's hidden states that the student has.

    Raises:
        InvalidInputError: The student has pieces that the teacher does not know.
    """
    source, own = _rows(teacher), _rows(student)
    if len(own[0]) > len(source[0]):
        raise InvalidInputError(
            f"The student has {len(own[0])} pieces, its teacher's word table only {len(source[0])}.",
            "Take the tokenizer that came with the teacher.",
        )
    pairs = _draw_pairs(len(own[0]), min(len(own[1]), len(source[1])))
    normal = _normalize(_sum(source, pairs), teacher.norm.eps)
    target = _finish(teacher, normal)[:, kept]
    energy = 1.0
    if student.norm.weight.shape == teacher.norm.weight.shape and (
        student.projection or not teacher.projection
    ):
        _copy(student, teacher, kept)
    elif student.projection is not None:
        basis, energy = _choose_basis(normal, student.norm.normalized_shape[0])
        _write_rows(own, [_center(rows) @ basis for rows in source])
        _reset(student.norm)
        inputs = _normalize(_sum(own, pairs), student.norm.eps)
        write_affine(student.projection, _fit_affine(inputs, target))
    else:
        _write_rows(own, [_through(teacher, rows)[:, kept] for rows in source])
        _reset(student.norm)
        _fit_norm(student.norm, _normalize(_sum(own, pairs), student.norm.eps), target)
    reached = _finish(student, _normalize(_sum(own, pairs), student.norm.eps))[:, : len(kept)]
    spread = target - target.mean(dim=0)
    return TableFit(energy=energy, error=float((reached - target).norm() / spread.norm()))


def _draw_pairs(pieces: int, positions: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = 1 / (torch.arange(pieces) + ZIPF_SHIFT)
    drawn = torch.multinomial(weights, SAMPLE, replacement=True, generator=generator)
    return drawn, torch.randint(min(positions, POSITIONS), (SAMPLE,), generator=generator)


def _rows(tables: Tables) -> Rows:
    position = tables.position.weight.detach()[tables.first_position :]
    return tables.word.weight.detach(), position, tables.token_type.weight.detach()


def _sum(rows: Rows, pairs: tuple[Tensor, Tensor]) -> Tensor:
    word, position, token_type = rows
    return word[pairs[0]] + position[pairs[1]] + token_type[0]


def _normalize(sums: Tensor, eps: float) -> Tensor:
    return functional.layer_norm(sums, sums.shape[-1:], eps=eps)


def _center(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=1, keepdim=True)


def _finish(tables: Tables, normal: Tensor) -> Tensor:
    """From normalized sums to the first hidden state."""
    states = normal * tables.norm.weight + tables.norm.bias
    return states if tables.projection is None else tables.projection(states)


def _through(teacher: Tables, rows: Tensor) -> Tensor:
    """Rows in the width of the teacher's layers."""
    if teacher.projection is None:
        return rows
    return _center(rows) * teacher.norm.weight @ teacher.projection.weight.T


def _copy(student: Tables, teacher: Tables, kept: Tensor) -> None:
    _write_rows(_rows(student), _rows(teacher))
    student.norm.load_state_dict(teacher.norm.state_dict())
    if student.projection is None:
        return
    width = teacher.norm.normalized_shape[0]
    projection = (torch.eye(width), torch.zeros(width))
    if teacher.projection is not None:
        projection = read_affine(teacher.projection)
    write_affine(student.projection, cut_affine(projection, rows=kept))


def _write_rows(own: Rows, source: Sequence[Tensor]) -> None:
    """Pieces and positions as far as both have them; a teacher's only token type stands for both."""
    word, position, token_type = source
    position = position[: len(own[1])]
    token_type = token_type[torch.arange(len(own[2])).clamp(max=len(token_type) - 1)]
    for target, rows in zip(own, (word[: len(own[0])], position, token_type), strict=True):
        target[: len(rows), : rows.shape[1]] = rows


def _choose_basis(normal: Tensor, width: int) -> tuple[Tensor, float]:
    """The directions with the most energy, `[E of the teacher, E]`, and the share of it that they hold.

    Directions beyond the teacher's width are zero.
    """
    values, vectors = torch.linalg.eigh(normal.T.double() @ normal.double())
    values, vectors = values.flip(0), vectors.flip(1)[:, :width]
    basis = functional.pad(vectors, (0, width - vectors.shape[1]))
    mirror = torch.full((width,), width**-0.5, dtype=basis.dtype)
    mirror[-1] -= 1
    # A Householder reflection: it swaps the last direction and that of all ones.
    basis = basis - 2 * torch.outer(basis @ mirror, mirror) / mirror.dot(mirror)
    return basis.float(), float(values[:width].sum() / values.sum())


def _reset(norm: nn.LayerNorm) -> None:
    nn.init.ones_(norm.weight)
    nn.init.zeros_(norm.bias)


def _fit_affine(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear map that brings inputs nearest to the target."""
    means = inputs.mean(dim=0), target.mean(dim=0)
    x, y = (inputs - means[0]).double(), (target - means[1]).double()
    ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(x.T @ x + ridge, x.T @ y).T.float()
    return weight, means[1] - weight @ means[0]


def _fit_norm(norm: nn.LayerNorm, inputs: Tensor, target: Tensor) -> None:
    """Gain and bias, coordinate by coordinate."""
    x, y = inputs[:, : target.shape[1]], target
    spread, shift = x - x.mean(dim=0), y - y.mean(dim=0)
    gain = (spread * shift).sum(dim=0) / spread.square().sum(dim=0)
    norm.weight[: len(gain)] = gain
    norm.bias[: len(gain)] = y.mean(dim=0) - gain * x.mean(dim=0)
