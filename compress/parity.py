"""Whether two engines agree: the logits of an exported file beside those of its model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.encoder import longest_input, output_layer
from compress.engines import Inputs, Logits
from compress.errors import CompressError

PARITY_SHAPES = ((1, 1), (1, 2), (3, 7), (8, 32), (4, 128))
"""Batches and lengths at which a file is compared with its model; rows of one batch differ in length."""


@dataclass(frozen=True)
class LogitComparison:
    """How far the logits of a session are from those of its model.

    Attributes:
        shapes: The batches compared, as (batch, length).
        max_difference: The largest difference of any logit.
        rms_difference: The root mean square of the differences in the worst batch.
        scale: The size of the model's logits: their root mean square, or that of logits whose terms
            add up at random (rms feature times rms norm of the classifier's rows), whichever is
            larger. The logits of an untrained classifier may cancel to nearly nothing, which says
            nothing of the encoder; so they are not the only yardstick.
        agreement: The fraction of rows with the same largest logit.
    """

    shapes: tuple[tuple[int, int], ...]
    max_difference: float
    rms_difference: float
    scale: float
    agreement: float

    @property
    def relative_error(self) -> float:
        """The worst batch's rms difference relative to the size of logits: 0 is perfect, 1 is noise."""
        return self.rms_difference / self.scale


def compare_logits(
    session: InferenceSession,
    model: PreTrainedModel,
    *,
    shapes: Sequence[tuple[int, int]] = PARITY_SHAPES,
    seed: int = 0,
) -> LogitComparison:
    """Compare a session's logits with the model's on random token ids, at several shapes, with padding.

    Args:
        session: Takes the model's inputs, gives `logits` `[B, C]`.
        model: The reference; it comes back in the mode it was in.
        shapes: (batch, length) of each batch; lengths beyond the model's positions are cut.
        seed: Of the token ids.
    """
    names = [node.name for node in session.get_inputs()]
    batches = random_batches(model.config, names, shapes=shapes, seed=seed)
    return compare_answers(lambda inputs: session.run(["logits"], dict(inputs))[0], model, batches)


def require_parity(
    comparison: LogitComparison, bound: float, *, remedy: str, of: str = "the model's"
) -> None:
    """Refuse logits that are too far from those that they should be.

    Args:
        comparison: What was seen.
        bound: The largest relative error.
        of: Whose they should be, in words.
        remedy: What to do about it.

    Raises:
        CompressError: They are.
    """
    if not comparison.relative_error <= bound:  # NaN fails, too
        raise CompressError(
            f"The logits differ from {of} by {comparison.relative_error:.2f} of their size (root mean square "
            f"over batches {comparison.shapes}); the bound is {bound:g}.",
            remedy,
        )


def compare_answers(
    answer: Callable[[Inputs], Logits], model: PreTrainedModel, batches: Sequence[Inputs]
) -> LogitComparison:
    """Compare the logits that something gives with a model's.

    Args:
        answer: Gives logits `[B, C]` for inputs `[B, L]`.
        model: The reference; it comes back in the mode it was in.
        batches: What both are asked: the inputs that both take.
    """
    expected: list[Logits] = []
    received: list[Logits] = []
    with evaluating(model), torch.no_grad(), _recorded_features(model) as features:
        for inputs in batches:
            tensors = {name: torch.from_numpy(array).to(model.device) for name, array in inputs.items()}
            expected.append(model(**tensors).logits.float().cpu().numpy())
            received.append(answer(inputs))
    differences = [got - wanted for got, wanted in zip(received, expected, strict=True)]
    agreeing = np.concatenate(received).argmax(axis=1) == np.concatenate(expected).argmax(axis=1)
    return LogitComparison(
        shapes=tuple(_shape(inputs) for inputs in batches),
        # np.max and not max, which may drop a NaN
        max_difference=float(np.max([np.abs(difference).max() for difference in differences])),
        rms_difference=float(np.max([_root_mean_square(difference) for difference in differences])),
        scale=max(_root_mean_square(np.concatenate(expected)), _random_logit(model, features)),
        agreement=float(agreeing.mean()),
    )


def random_batches(
    config: PretrainedConfig,
    names: Sequence[str],
    *,
    shapes: Sequence[tuple[int, int]] = PARITY_SHAPES,
    seed: int = 0,
) -> list[Inputs]:
    """Random token ids at several shapes, with padding; lengths beyond the model's positions are cut."""
    longest = longest_input(config)
    batches = [
        random_batch(config, batch=batch, length=min(length, longest), seed=seed + number)
        for number, (batch, length) in enumerate(shapes)
    ]
    return [{name: inputs[name] for name in names} for inputs in batches]


def _shape(inputs: Inputs) -> tuple[int, int]:
    batch, length = inputs["input_ids"].shape
    return batch, length


def random_batch(
    config: PretrainedConfig, *, batch: int, length: int, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Random token ids, mask and segments, each `[B, L]`; the first row is full, the last a quarter."""
    padding = config.pad_token_id or 0
    ids = np.random.default_rng(seed).integers(0, config.vocab_size - 1, size=(batch, length))
    ids += ids >= padding  # any id but the padding's, from which RoBERTa counts its positions
    lengths = np.linspace(length, max(1, length // 4), batch).astype(np.int64)
    mask = np.arange(length) < lengths[:, None]
    second = mask & (np.arange(length) >= length // 2) & (getattr(config, "type_vocab_size", 1) > 1)
    return {
        "input_ids": np.where(mask, ids, padding),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": second.astype(np.int64),
    }


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode within, each module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def open_session(exported: onnx.ModelProto) -> InferenceSession:
    """An ONNX Runtime session of a graph in memory, on the CPU, its threads asleep between calls."""
    options = SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return InferenceSession(exported.SerializeToString(), options, providers=["CPUExecutionProvider"])


@contextmanager
def _recorded_features(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """What the classifier is given within, one tensor `[B, H]` a batch."""
    features: list[Tensor] = []
    handle = output_layer(model).register_forward_pre_hook(
        lambda _, inputs: features.append(inputs[0].float())
    )
    try:
        yield features
    finally:
        handle.remove()


def _root_mean_square(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _random_logit(model: PreTrainedModel, features: list[Tensor]) -> float:
    """The root mean square of logits whose terms, feature times weight, add up at random."""
    rows = output_layer(model).weight.detach().float().square().sum(dim=1)
    return float(torch.cat(features).square().mean().sqrt() * rows.mean().sqrt())
