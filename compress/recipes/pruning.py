"""What pruning removes, and by which judgement: a small recipe that names fractions and counts, no sizes."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from compress.recipes.values import Frozen, NonNegativeInt, PositiveInt, Share

ImportanceName = Literal["magnitude", "taylor", "random"]
"""Who judges a unit: the size of its weights, what the loss would lose by it to first order, or, the control, chance."""
LayerRule = Literal["last", "first", "alternate", "importance"]
"""Which layers go: the last or the first ones, those between evenly spaced ones, or those that change their input least."""
ROUNDED_TO = 8
"""Widths are multiples of it, as kernels for vectors and for 4-bit blocks want them; heads are whole."""

Fraction = Annotated[Share, Field(description="of what is there")]


class Removal(Frozen):
    """What is removed of an encoder; all fractions are of what is there, and 0 leaves it.

    Attributes:
        vocabulary: How many pieces stay, those that texts use most; `used`: those that they use, which a plan counts, so
            that a run's record holds their number; None leaves all.
        layers: How many layers; of a shared layer, how many passes through it.
        layer_rule: Which of them.
        heads: Of the attention heads, at an unchanged hidden width.
        ffn: Of the neurons of each feed-forward network.
        hidden: Of the hidden width, and, where `heads` says nothing, of the heads.
        embedding: Of the width of factorized embedding tables (ALBERT, ELECTRA).
        sparsity: Of the single weights of each matrix, which become zeros.
    """

    vocabulary: PositiveInt | Literal["used"] | None = None
    layers: NonNegativeInt = 0
    layer_rule: LayerRule = "last"
    heads: Fraction = 0.0
    ffn: Fraction = 0.0
    hidden: Fraction = 0.0
    embedding: Fraction = 0.0
    sparsity: Fraction = 0.0

    @property
    def pieces(self) -> int | None:
        """How many pieces stay.

        Raises:
            ValueError: Texts were not counted yet.
        """
        if self.vocabulary == "used":
            raise ValueError("which pieces are used has to be counted first")
        return self.vocabulary

    def parts(self) -> Iterator[tuple[str, float]]:
        """Each part's name and how much of it goes (or, of pieces, stays), in the order of passes; what is left whole is not named."""
        if self.pieces:
            yield "vocabulary", self.pieces
        for name in ("layers", "heads", "ffn", "hidden", "embedding", "sparsity"):
            if value := getattr(self, name):
                yield name, value

    def describe(self, *, pieces_from: str | None = None) -> str:
        """In a few words: layers 2 (last), ffn 0.5; with the documents whose pieces were counted, where there are some."""
        said = {name: f"{name} {value:.6g}" for name, value in self.parts()}
        if self.layers:
            said["layers"] += f" ({self.layer_rule})"
        if "vocabulary" in said and pieces_from is not None:
            said["vocabulary"] += f" (counted in {pieces_from})"
        return ", ".join(said.values())

    @property
    def ranks_units(self) -> bool:
        """Whether units are told apart by their importance."""
        return any(name not in ("vocabulary", "layers", "sparsity") for name, _ in self.parts())
