"""Two segments: guess hidden words, and whether the second follows the first (BERT) or comes before it (ALBERT)."""

from typing import Any

from torch import Tensor, nn

from compress.encoder import MODEL_INPUTS
from compress.losses.task import task_loss
from compress.objective import Batch, Judgement, Mean, Objective
from compress.pretraining.masked_lm import judge_guesses

NEXT_SENTENCE = "next_sentence_label"
"""0 where the second segment is the first one's continuation (Devlin et al. 2018, section 3.1, task 2)."""
SENTENCE_ORDER = "sentence_order_label"
"""0 where two consecutive segments stand in their order, 1 where they are swapped (Lan et al. 2020, section 3.1)."""


class SegmentsObjective(Objective):
    """Masked language modelling and one question on two segments, summed.

    Args:
        question: The column of a batch that has its answers, `[B]`: `NEXT_SENTENCE` or `SENTENCE_ORDER`.
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def forward(self, model: nn.Module, batch: Batch) -> Judgement:
        """Two terms; and how many words and questions are answered rightly."""
        inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
        hidden, pooled = model.base_model(**inputs)[:2]  # type: ignore[operator]
        guessed = judge_guesses(model, hidden, batch["labels"])
        logits, answers = _relate(model, pooled).float(), batch[self.question]
        name = self.question.removesuffix("_label")
        terms = {**guessed.terms, name: Mean(task_loss(logits, answers), len(answers))}
        right = (logits.argmax(dim=-1) == answers).float().mean()
        measures = {**guessed.measures, f"{name}_accuracy": Mean(right, len(answers))}
        return Judgement(terms, None, measures)


def _relate(model: nn.Module, pooled: Tensor) -> Tensor:
    """The logits of the question on two segments, `[B, 2]`: BERT's head, or ALBERT's."""
    head: Any = getattr(model, "sop_classifier", None) or model.get_submodule("cls.seq_relationship")
    logits: Tensor = head(pooled)
    return logits
