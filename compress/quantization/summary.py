"""What a quantized artefact is made of: the same account whatever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compress.parity import LogitComparison

KEPT = "layers kept: asked for, or the score would fall too far"
"""Why a matrix stays in full precision that could be in fewer bits."""


@dataclass(frozen=True)
class KeptInFloat:
    """A tensor that stays in more bits: its size, and why."""

    bytes: int
    reason: str


@dataclass(frozen=True)
class QuantizationSummary:
    """What a quantized artefact is made of, and how far it is from its model.

    Attributes:
        bytes: Of its weights and graph.
        quantized_matmuls: Products with quantized weights; a shared layer counts once a use.
        kept_in_float: Constants in full precision, scalars left out, by name.
        comparison: With the model in fp32, and the batches that it was made on.
        more: What else the method notes of itself, as JSON values.
    """

    bytes: int
    quantized_matmuls: int
    kept_in_float: Mapping[str, KeptInFloat]
    comparison: LogitComparison
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_logit_error(self) -> float:
        """The largest difference of any logit from the fp32 model's."""
        return self.comparison.max_difference

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON values; what stays in fp32 summed up by reason."""
        kept: dict[str, int] = {}
        for tensor in self.kept_in_float.values():
            kept[tensor.reason] = kept.get(tensor.reason, 0) + tensor.bytes
        return {
            "bytes": self.bytes,
            "quantized_matmuls": self.quantized_matmuls,
            "bytes_kept_in_float": kept,
            "max_logit_error": self.max_logit_error,
            "relative_logit_error": self.comparison.relative_error,
            "argmax_agreement": self.comparison.agreement,
            "parity_batches": [list(shape) for shape in self.comparison.shapes],
            **self.more,
        }
