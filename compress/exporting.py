"""A PyTorch classifier as one ONNX file.

`torch.onnx.export` traces the model and ONNX Runtime's basic optimizations, which hold on any
machine, fold what is constant, so that each weight is an initializer next to the `MatMul` that uses
it. One rewrite of our own follows, which no optimizer makes and which leaves the logits as they are:
the last layer is computed at the one position that the classifier reads.
"""

import inspect
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.encoder import longest_input
from compress.errors import CompressError
from compress.graphs import float_matrices, narrow_last_layer, write_graph
from compress.parity import compare_logits, evaluating, open_session, random_batch

FLOAT_TOLERANCE = 1e-4
"""The largest difference of a logit, relative to the size of logits, that an export in fp32 may show."""

BYTES_OF_A_FILE = 2**31


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
    narrow_last_layer(exported.graph)
    _drop_traces(exported)
    _require_weights_once(exported.graph, model)
    comparison = compare_logits(open_session(exported), model)
    if not comparison.max_difference <= FLOAT_TOLERANCE * max(1.0, comparison.scale):  # NaN fails, too
        raise CompressError(
            f"The exported graph's logits differ from the model's by {comparison.max_difference:.2g} "
            f"(expected at most {FLOAT_TOLERANCE:g} of {max(1.0, comparison.scale):.2g}).",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    write_graph(exported, path)


class _Logits(nn.Module):
    """The model as a function from its inputs, each `[B, L]`, to its logits, `[B, C]`."""

    def __init__(self, model: PreTrainedModel, input_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.input_names = tuple(input_names)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.input_names, inputs, strict=True))).logits  # type: ignore[no-any-return]


def _trace(model: PreTrainedModel, input_names: Sequence[str]) -> onnx.ModelProto:
    batch = random_batch(model.config, batch=2, length=min(7, longest_input(model.config)), seed=0)
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
    # Stack traces name files of this machine; inferred shapes go stale and make `quantize_dynamic` fail;
    # operator sets that no node uses may be unknown to other runtimes.
    graph = exported.graph
    used = {node.domain for node in graph.node}
    imports = [opset for opset in exported.opset_import if opset.domain in used]
    del exported.opset_import[:]
    exported.opset_import.extend(imports)
    del graph.value_info[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


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
