"""One way to run any artefact: strings in, logits out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from compress.data.batching import sort_by_length
from compress.data.checking import Texts
from compress.data.task_data import tokenize
from compress.encoder import (
    MODEL_INPUTS,
    Encoder,
    load_config,
    load_finished,
    load_tokenizer,
    longest_input,
    model_inputs,
)
from compress.environment import Device, device, multiplies_bfloat16
from compress.errors import CompressError, first_line
from compress.integrity import require_fitting

ONNX_FILE = "model.onnx"
LOGITS = "logits"
"""The name of a graph's output."""
Inputs = Mapping[str, NDArray[np.int64]]
Logits = NDArray[np.float32]


class Engine(Protocol):
    """What runs a model: token ids `[B, L]` in, logits `[B, C]` out."""

    name: str
    device: Device

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""


class TorchEngine:
    """PyTorch, eager, in the model's own precision or in bfloat16."""

    def __init__(self, encoder: Encoder, *, threads: int | None = None, bf16: bool = False) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.name = "pytorch-bf16" if bf16 else "pytorch"
        self.device = device()
        self._model = _place(encoder.model, self.device, torch.bfloat16 if bf16 else None)

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
            return self._model(**tensors).logits.float().cpu().numpy()  # type: ignore[no-any-return]


def _place(model: torch.nn.Module, where: Device, dtype: torch.dtype | None) -> torch.nn.Module:
    return model.to(where, dtype).eval()


class OnnxEngine:
    """ONNX Runtime on the CPU, its threads asleep between calls."""

    name = "onnxruntime"
    device: Device = "cpu"

    def __init__(self, file: Path, *, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors derive from Exception alone
            raise CompressError(
                f"{file} cannot be loaded: {first_line(error)}",
                "Make it again: compress quantize MODEL --force",
            ) from None
        self._inputs = [node.name for node in self._session.get_inputs()]
        outputs = {node.name: node.shape for node in self._session.get_outputs()}
        if LOGITS not in outputs or not set(self._inputs) <= set(MODEL_INPUTS):
            raise CompressError(
                f"{file} takes {', '.join(self._inputs) or 'nothing'} and gives {', '.join(outputs)}; a classifier "
                f"takes {', '.join(MODEL_INPUTS)} (some of them) and gives {LOGITS}.",
                "Name a directory that `compress quantize` wrote, or export the graph with these names.",
            )
        self._width = outputs[LOGITS][-1] if outputs[LOGITS] else None

    def require_fitting(self, file: Path, inputs: Sequence[str], *, labels: int) -> None:
        """Refuse a graph whose inputs the tokenizer does not make, or whose logits are of other labels.

        Raises:
            CompressError: It is such a graph.
        """
        unmade = [name for name in self._inputs if name not in inputs]
        if unmade:
            raise CompressError(
                f"{file} takes {', '.join(unmade)}, which the tokenizer beside it does not make.",
                "Put the tokenizer there that the graph was exported with.",
            )
        if isinstance(self._width, int) and self._width != labels:
            raise CompressError(
                f"{file} gives {self._width} logits, the config.json beside it names {labels} labels.",
                "Put the config.json there that was saved with the graph.",
            )

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""
        feed = {name: inputs[name] for name in self._inputs}
        return self._session.run([LOGITS], feed)[0]  # type: ignore[no-any-return]


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

    @classmethod
    def of_encoder(cls, encoder: Encoder, *, threads: int | None = None, bf16: bool = False) -> Self:
        """A predictor of a model in memory."""
        return cls(TorchEngine(encoder, threads=threads, bf16=bf16), encoder.tokenizer, encoder.model.config)

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
        """Logits `[N, C]` in the order of the texts; and how many texts were cut."""
        batches, cut = self.batches(texts, batch_size=batch_size)
        rows, parts = zip(*((rows, self.engine.run(inputs)) for rows, inputs in batches), strict=True)
        order = np.argsort(np.concatenate([np.asarray(part) for part in rows]), kind="stable")
        return np.concatenate(parts)[order], cut

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
        path: A directory with `model.onnx`, or in Hugging Face format with a classifier.
        threads: Of the engine; default the runtime's own choice.
        bf16: Whether PyTorch computes in bfloat16; in any case where the weights are stored so and the processor
            multiplies it natively. A graph has its own precision.

    Raises:
        CompressError: It is no finished artefact, or a damaged one.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise CompressError(
            f"{path} holds no config.json, so it is no model.", "Name the directory of a finished run."
        )
    if (path / ONNX_FILE).is_file():
        config, tokenizer = load_config(path), load_tokenizer(path)
        require_fitting(path, tokenizer, config)
        engine = OnnxEngine(path / ONNX_FILE, threads=threads)
        engine.require_fitting(path / ONNX_FILE, model_inputs(tokenizer), labels=int(config.num_labels or 0))
        return Predictor(engine, tokenizer, config)
    bf16 = bf16 or (_is_bfloat16(load_config(path)) and multiplies_bfloat16())
    return Predictor.of_encoder(load_finished(path), threads=threads, bf16=bf16)


def _is_bfloat16(config: PretrainedConfig) -> bool:
    return str(config.dtype).removeprefix("torch.") == "bfloat16"


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
