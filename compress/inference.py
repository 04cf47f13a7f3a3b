"""One way to run any artefact: strings in, logits out."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from compress.data.batching import sort_by_length
from compress.data.checking import Texts
from compress.data.task_data import tokenize
from compress.encoder import Encoder, load_config, load_tokenizer, longest_input, model_inputs
from compress.engines import Doubter, Engine, Inputs, Logits, open_engine
from compress.errors import CompressError
from compress.integrity import require_fitting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A label and its probability; for a regression the score, and no label."""

    label: str | None
    score: float


class Predictor:
    """An artefact ready to answer.

    Attributes:
        labels: The label of each logit; None for a regression.
        longest_input: Tokens that the model has positions for.
        max_length: Tokens after which a text is cut: the tokenizer's own limit, if the model has no lower one.
    """

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.labels = _labels_of(config)
        self.longest_input = longest_input(config)
        self.max_length = min(tokenizer.model_max_length, self.longest_input)
        self._doubted = False

    @classmethod
    def of_encoder(cls, encoder: Encoder, *, threads: int | None = None, bf16: bool = False) -> Self:
        """A predictor of a model in memory."""
        from compress.engines.pytorch import TorchEngine

        engine = TorchEngine(encoder.model, threads=threads, bf16=bf16)
        return cls(engine, encoder.tokenizer, encoder.model.config)

    def batches(self, texts: Texts, *, batch_size: int) -> tuple[Iterator[tuple[list[int], Inputs]], int]:
        """Texts of like length in padded batches, shortest first.

        Returns:
            Pairs of row numbers and inputs `[B, L]`; and how many texts were cut.
        """
        encoded, cut = tokenize(texts, self.tokenizer, max_length=self.max_length)
        names = model_inputs(self.tokenizer)
        lengths = [len(ids) for ids in encoded["input_ids"]]

        def padded() -> Iterator[tuple[list[int], Inputs]]:
            for rows in sort_by_length(lengths, batch_size=batch_size):
                batch = {name: [encoded[name][row] for row in rows] for name in names}
                arrays = self.tokenizer.pad(batch, return_tensors="np")
                yield rows, {name: np.asarray(arrays[name], dtype=np.int64) for name in names}

        return padded(), cut

    def logits(self, texts: Texts, *, batch_size: int = 32) -> tuple[Logits, int]:
        """Logits `[N, C]` in the order of the texts; and how many texts were cut. The first time it says what makes them doubtful here."""
        self._say_doubt()
        batches, cut = self.batches(texts, batch_size=batch_size)
        rows, parts = zip(*((rows, self.engine.run(inputs)) for rows, inputs in batches), strict=True)
        order = np.argsort(np.concatenate([np.asarray(part) for part in rows]), kind="stable")
        return np.concatenate(parts)[order], cut

    def _say_doubt(self) -> None:
        """Once, and not when a model is loaded: what it costs to find out is no part of what loading costs."""
        if not self._doubted and isinstance(self.engine, Doubter) and (doubt := self.engine.doubt()):
            logger.warning("%s", doubt)
        self._doubted = True

    def predict(self, texts: Texts, *, batch_size: int = 32) -> list[Prediction]:
        """The most likely label of each text with its probability, or its score."""
        if not texts:
            return []
        logits, _ = self.logits(texts, batch_size=batch_size)
        if self.labels is None:
            return [Prediction(None, float(row[0])) for row in logits]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        best = probabilities.argmax(axis=1)
        return [Prediction(self.labels[i], float(row[i])) for i, row in zip(best, probabilities, strict=True)]


def load(path: Path | str, *, threads: int | None = None, bf16: bool = False) -> Predictor:
    """Load a finished artefact, whatever its backend.

    Args:
        path: A directory with a classifier in Hugging Face format, or with what `compress.engines` knows in the place
            of its weights.
        threads: Of the engine; default the runtime's own choice.
        bf16: Whether PyTorch computes in bfloat16; in any case where the weights are stored so and the processor
            multiplies it natively. A graph has its own precision.

    Raises:
        CompressError: It is no finished artefact, or a damaged one; or its engine is not installed.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise CompressError(
            f"{path} holds no config.json, so it is no model.", "Name the directory of a finished run."
        )
    config, tokenizer = load_config(path), load_tokenizer(path)
    require_fitting(path, tokenizer, config)
    engine = open_engine(path, config, model_inputs(tokenizer), threads=threads, bf16=bf16)
    return Predictor(engine, tokenizer, config)


def _labels_of(config: PretrainedConfig) -> tuple[str, ...] | None:
    if config.problem_type == "regression":
        return None
    labels = {int(row): str(label) for row, label in (config.id2label or {}).items()}
    return tuple(labels[row] for row in sorted(labels))


def texts_of(arguments: Sequence[str]) -> Texts:
    """Texts as typed on a command line: a pair is parted by a tab."""
    parts = [tuple(argument.split("\t", 1)) for argument in arguments]
    if all(len(part) == 2 for part in parts):
        return parts  # type: ignore[return-value]
    return list(arguments)
