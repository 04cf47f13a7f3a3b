"""A PyTorch classifier as one ONNX file, and the measure of how well the file agrees with it.

`torch.onnx.export` traces the model and ONNX Runtime's basic optimizations, which hold on any
machine, fold what is constant, so that each weight is an initializer next to the `MatMul` that uses
it. Two short rewrites of our own follow, because no optimizer makes them and the logits stay the
same: the last layer is computed at the one position that the classifier reads, and residual sums are
written so that ONNX Runtime leaves them out of a slow fusion.
"""

import inspect
import logging
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import CompressError

FLOAT_TOLERANCE = 1e-4
"""The largest difference of a logit, relative to the size of logits, that an export in fp32 may show."""

PARITY_SHAPES = ((1, 1), (1, 2), (3, 7), (8, 32), (4, 128))
"""Batches and lengths at which a file is compared with its model; rows of one batch differ in length."""

BYTES_OF_A_FILE = 2**31
ELEMENTWISE = frozenset(
    {"Add", "Sum", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh"}
)
FIRST, SECOND, POSITION_AXIS = "position_first", "position_second", "position_axis"


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


def export_onnx(model: PreTrainedModel, path: Path, *, input_names: Sequence[str]) -> None:
    """Write a sequence classifier as one ONNX file, weights included, shared weights once.

    The file takes `input_names` (int64, `[B, L]`, any batch and length) and gives `logits` (float32,
    `[B, C]`). It is compared with the model before it is written, whole or not at all. The model
    comes back as it was.

    Args:
        model: Weights in fp32; its `forward` takes `input_names` and returns `logits`.
        path: The file to write; its directory is made if need be.
        input_names: What the model's tokenizer makes, in the order wanted.

    Raises:
        CompressError: The model is no fp32 classifier with these inputs or is too large for one file;
            shared weights were written twice; or file and model disagree.
    """
    _require_exportable(model, input_names)
    exported = _fold_constants(_trace(model, input_names))
    _narrow_last_layer(exported.graph)
    _keep_sums_apart(exported.graph)
    _drop_traces(exported)
    _require_weights_once(exported.graph, model)
    comparison = compare_logits(open_session(exported), model)
    if comparison.max_difference > FLOAT_TOLERANCE * max(1.0, comparison.scale):
        raise CompressError(
            f"The exported graph's logits differ from the model's by {comparison.max_difference:.2g} "
            f"(expected at most {FLOAT_TOLERANCE:g} of {max(1.0, comparison.scale):.2g}).",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    write_graph(exported, path)


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
    clipped = tuple((batch, min(length, _longest_input(model.config))) for batch, length in shapes)
    expected: list[NDArray[np.float32]] = []
    received: list[NDArray[np.float32]] = []
    with evaluating(model), torch.no_grad(), _recorded_features(model) as features:
        for number, (batch, length) in enumerate(clipped):
            inputs = random_batch(model.config, batch=batch, length=length, seed=seed + number)
            tensors = {name: torch.from_numpy(inputs[name]).to(model.device) for name in names}
            expected.append(model(**tensors).logits.float().cpu().numpy())
            received.append(session.run(["logits"], {name: inputs[name] for name in names})[0])
    differences = [got - wanted for got, wanted in zip(received, expected, strict=True)]
    agreeing = np.concatenate(received).argmax(axis=1) == np.concatenate(expected).argmax(axis=1)
    return LogitComparison(
        shapes=clipped,
        max_difference=max(float(np.abs(difference).max()) for difference in differences),
        rms_difference=max(_root_mean_square(difference) for difference in differences),
        scale=max(_root_mean_square(np.concatenate(expected)), _random_logit(model, features)),
        agreement=float(agreeing.mean()),
    )


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


def write_graph(exported: onnx.ModelProto, path: Path) -> None:
    """Write a graph so that the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        onnx.save(exported, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def float_matrices(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The fp32 constants of a graph that have two dimensions or more: its weights, by name."""
    return {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    }


class _Logits(nn.Module):
    """The model as a function from its inputs, each `[B, L]`, to its logits, `[B, C]`."""

    def __init__(self, model: PreTrainedModel, input_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.input_names = tuple(input_names)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.input_names, inputs, strict=True))).logits  # type: ignore[no-any-return]


def _trace(model: PreTrainedModel, input_names: Sequence[str]) -> onnx.ModelProto:
    batch = random_batch(model.config, batch=2, length=min(7, _longest_input(model.config)), seed=0)
    inputs = tuple(torch.from_numpy(batch[name]).to(model.device) for name in input_names)
    with evaluating(model), _eager_attention(model), _quiet_exporter():
        program = torch.onnx.export(
            _Logits(model, input_names).eval(),
            inputs,
            dynamo=True,
            optimize=False,  # it would write a small shared weight once for each use
            verbose=False,
            input_names=list(input_names),
            output_names=["logits"],
            dynamic_shapes=(tuple({0: "batch", 1: "length"} for _ in inputs),),
        )
    assert program is not None  # noqa: S101 (None is what the older exporter returns)
    return program.model_proto


@contextmanager
def _eager_attention(model: PreTrainedModel) -> Iterator[None]:
    # Traced from sdpa, each layer would test its whole attention matrix for NaN: 7 % of the time.
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # It warns of a missing torchvision and of its own deprecated calls, which say nothing to our user.
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _fold_constants(traced: onnx.ModelProto) -> onnx.ModelProto:
    # Transposed weights become initializers; without it quantizers pass over shared weights.
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        source, target = Path(scratch) / "traced.onnx", Path(scratch) / "folded.onnx"
        onnx.save(traced, source)
        quant_pre_process(source, target, skip_symbolic_shape=True, skip_onnx_shape=True)
        return onnx.load(target)


def _drop_traces(exported: onnx.ModelProto) -> None:
    # Stack traces name files of this machine; inferred shapes go stale and make `quantize_dynamic` fail.
    graph = exported.graph
    del graph.value_info[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def _keep_sums_apart(graph: onnx.GraphProto) -> None:
    """Write each `Add` before a `LayerNormalization` as a `Sum`.

    ONNX Runtime fuses the pair into `SkipLayerNormalization`, whose CPU kernel takes six times as
    long as the two nodes (1.31, 1 × 128): a tenth of an int8 model's time. `Sum` of two is the same
    operation, and is left alone.
    """
    normalized = {node.input[0] for node in graph.node if node.op_type == "LayerNormalization"}
    for node in graph.node:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"


def _narrow_last_layer(graph: onnx.GraphProto) -> None:
    """Compute the last layer at the first position only, where the classifier reads nothing else.

    From the node that selects the first position back through the graph: a node belongs to the narrow
    part if every use of its output does, and if each position of its output depends on that position
    of its inputs alone. So the last layer's feed-forward network, its attention and its queries shrink
    to one row; keys and values, which every query needs, stay. Where a value enters the narrow part, it
    is sliced. Without such a selection nothing changes.
    """
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    selections = [node for node in graph.node if _selects_first_position(node, graph)]
    if len(selections) != 1:
        return
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    narrow_uses = Counter([selections[0].input[0]])
    narrow: dict[str, onnx.NodeProto] = {}
    for node in reversed(graph.node):
        name = node.output[0]
        if 0 < narrow_uses[name] == uses[name] and _keeps_positions_apart(node, producers):
            narrow[name] = node
            narrow_uses.update(node.input[slot] for slot in _position_slots(node, constants))
    if narrow:
        _slice_inputs(graph, narrow, constants)


def _selects_first_position(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    if node.op_type != "Gather" or _attribute(node, "axis", 0) != 1:
        return False
    index = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    return index is not None and not index.dims and int(numpy_helper.to_array(index)) == 0


def _keeps_positions_apart(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> bool:
    match node.op_type:
        case "MatMul":  # rows of the product are rows of its first factor
            return True
        case "LayerNormalization" | "Softmax":
            return bool(_attribute(node, "axis", -1) == -1)
        case "Transpose":  # [B, L, heads, size] to [B, heads, L, size], or back
            return bool(_attribute(node, "perm", []) == [0, 2, 1, 3])
        case "Reshape":  # [B, L, H] to [B, L, heads, size], or back
            shape = producers.get(node.input[1])
            return shape is not None and shape.op_type == "Concat" and len(shape.input) > 2
        case operation:
            return operation in ELEMENTWISE


def _position_slots(node: onnx.NodeProto, constants: set[str]) -> list[int]:
    """Which inputs of a node have positions that its output keeps."""
    if node.op_type not in ELEMENTWISE:
        return [0]
    return [slot for slot, name in enumerate(node.input) if name not in constants]


def _slice_inputs(graph: onnx.GraphProto, narrow: dict[str, onnx.NodeProto], constants: set[str]) -> None:
    """Feed the narrow nodes with the first position of what comes from elsewhere, reshape to one."""
    sliced: set[str] = set()
    shapes = {node.input[1] for node in narrow.values() if node.op_type == "Reshape"}
    for node in narrow.values():
        for slot in _position_slots(node, constants):
            if node.input[slot] not in narrow:
                sliced.add(node.input[slot])
                node.input[slot] += "_first"
        if node.op_type == "Reshape":
            node.input[1] += "_first"
    ordered = []
    for node in graph.node:
        ordered.append(node)
        for name in node.output:
            if name in sliced:  # [B, L, H], [B, heads, L, size] or a mask [B, 1, L, L]: the last axis but one
                slice_inputs = [name, FIRST, SECOND, POSITION_AXIS]
                ordered.append(helper.make_node("Slice", slice_inputs, [f"{name}_first"], f"{name}_first"))
            if name in shapes:
                dimensions = [node.input[0], SECOND, *node.input[2:]]  # [B, L, …] becomes [B, 1, …]
                ordered.append(
                    helper.make_node("Concat", dimensions, [f"{name}_first"], f"{name}_first", axis=0)
                )
    del graph.node[:]
    graph.node.extend(ordered)
    for name, value in ((FIRST, 0), (SECOND, 1), (POSITION_AXIS, -2)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], dtype=np.int64), name))


def _attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    found = (helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)
    return next(found, default)


def _require_exportable(model: PreTrainedModel, input_names: Sequence[str]) -> None:
    accepted = inspect.signature(model.forward).parameters
    known = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in accepted]
    if not {"input_ids"} <= set(input_names) <= set(known):
        raise CompressError(
            f"{type(model).__name__} was to be exported with the inputs {', '.join(input_names) or 'none'}; "
            f"it takes {', '.join(known)}, the first at least.",
            "Name the inputs that its tokenizer makes.",
        )
    types = {parameter.dtype for parameter in model.parameters()}
    if types != {torch.float32}:
        found = ", ".join(sorted(str(dtype) for dtype in types))
        raise CompressError(
            f"The model's weights are {found}; an export needs torch.float32.", "Call model.float()."
        )
    size = sum(parameter.nbytes for parameter in model.parameters())
    if size >= BYTES_OF_A_FILE:
        raise CompressError(
            f"The model's weights take {size / 1e9:.1f} GB; one ONNX file holds less than 2.1.",
            "Export a smaller model.",
        )


def _require_weights_once(graph: onnx.GraphProto, model: PreTrainedModel) -> None:
    written = float_matrices(graph)
    held = sum(parameter.dim() > 1 for parameter in model.parameters())  # yields a shared tensor once
    if len(written) > held:
        raise CompressError(
            f"The exported graph holds {len(written)} weight matrices, the model only {held}: shared "
            f"weights were written more than once. The graph's: {', '.join(sorted(written))}.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )


def _longest_input(config: PretrainedConfig) -> int:
    # RoBERTa's positions start behind its padding id; one position fewer does the others no harm.
    return int(config.max_position_embeddings) - (config.pad_token_id or 0) - 1


@contextmanager
def _recorded_features(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """What the classifier is given within, one tensor `[B, H]` a batch."""
    features: list[Tensor] = []
    handle = _classifier(model).register_forward_pre_hook(
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
    rows = _classifier(model).weight.detach().float().square().sum(dim=1)
    return float(torch.cat(features).square().mean().sqrt() * rows.mean().sqrt())


def _classifier(model: PreTrainedModel) -> nn.Linear:
    head: Any = model.classifier
    return getattr(head, "out_proj", head)  # type: ignore[no-any-return]
