"""What a graph takes and gives: is it a classifier's, and that of the files beside it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.encoder import MODEL_INPUTS
from compress.errors import CompressError

LOGITS = "logits"
"""The name of a classifier's output."""


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a graph in a file.

    Attributes:
        file: Where it lies.
        inputs: Their names, in its order.
        outputs: Name → its last dimension; None where that is not fixed.
    """

    file: Path
    inputs: tuple[str, ...]
    outputs: Mapping[str, int | None]

    def require_classifier(self) -> None:
        """Refuse a graph that does not take token ids and give logits, by our names.

        Raises:
            CompressError: It is such a graph.
        """
        if LOGITS not in self.outputs or not set(self.inputs) <= set(MODEL_INPUTS):
            raise CompressError(
                f"{self.file} takes {', '.join(self.inputs) or 'nothing'} and gives {', '.join(self.outputs)}; "
                f"a classifier takes {', '.join(MODEL_INPUTS)} (some of them) and gives {LOGITS}.",
                "Name a directory that `compress quantize` or `compress export` wrote, or export the graph with "
                "these names.",
            )

    def require_fitting(self, input_names: Sequence[str], *, labels: int) -> None:
        """Refuse a graph whose inputs the tokenizer does not make, or whose logits are of other labels.

        Raises:
            CompressError: It is such a graph.
        """
        unmade = [name for name in self.inputs if name not in input_names]
        if unmade:
            raise CompressError(
                f"{self.file} takes {', '.join(unmade)}, which the tokenizer beside it does not make.",
                "Put the tokenizer there that the graph was exported with.",
            )
        width = self.outputs[LOGITS]
        if width is not None and width != labels:
            raise CompressError(
                f"{self.file} gives {width} logits, the config.json beside it names {labels} labels.",
                "Put the config.json there that was saved with the graph.",
            )
