"""What `torch.onnx.export` makes of an architecture, made once: it takes ten seconds, and no weight changes it.

The weights of the model at hand are filled in. `export_onnx` compares every graph with its model before it writes it, so
that one of another architecture, or with other weights, is refused.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
from torch import nn
from transformers import PreTrainedModel

Trace = Callable[[PreTrainedModel, Sequence[str]], onnx.ModelProto]
PLAIN = (bool, int, float, str, tuple, type(None))
"""The kinds of attributes of a module by which its graph may be another."""
OF_NO_GRAPH = {"_name_or_path", "name_or_path", "transformers_version", "id2label", "label2id"}
OF_NO_GRAPH |= {"training", "_is_hf_initialized"}  # every graph is traced in eval mode
"""Entries of a config and attributes of a module by which it is not."""


def keep_traces(trace: Trace, folder: Path) -> Trace:
    """The function, whose graphs are kept by architecture; the original is its `__wrapped__`.

    Args:
        trace: A model and the names of its inputs → its graph, whose weights are called as its parameters are.
        folder: Of the graphs; processes may share it.
    """

    @functools.wraps(trace)
    def fill_or_trace(model: PreTrainedModel, input_names: Sequence[str]) -> onnx.ModelProto:
        told = json.dumps([*input_names, *_describe(model)], sort_keys=True, default=str)
        file = folder / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.onnx"
        if file.is_file():
            return _fill(onnx.load(file), model)
        graph = trace(model, input_names)
        draft = file.with_suffix(f".{os.getpid()}")
        onnx.save(graph, draft)
        draft.replace(file)
        return graph

    return fill_or_trace


def _describe(model: nn.Module) -> Iterator[object]:
    """All that a graph depends on: modules and their settings, shapes, and what of them is shared."""
    yield {key: value for key, value in model.config.to_diff_dict().items() if key not in OF_NO_GRAPH}
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        settings = {key: value for key, value in vars(module).items() if isinstance(value, PLAIN)}
        settings = {key: value for key, value in settings.items() if key not in OF_NO_GRAPH}
        yield [name, first.setdefault(id(module), name), type(module).__qualname__, settings]
    for name, tensor in model.named_parameters(remove_duplicate=False):
        yield [name, first.setdefault(id(tensor), name), list(tensor.shape), str(tensor.dtype)]
    for name, tensor in model.named_buffers():
        yield [name, tensor.tolist()]


def _fill(graph: onnx.ModelProto, model: nn.Module) -> onnx.ModelProto:
    weights = {f"model.{name}": tensor for name, tensor in model.named_parameters(remove_duplicate=False)}
    for held in graph.graph.initializer:
        if held.name in weights:
            held.raw_data = weights[held.name].detach().cpu().contiguous().numpy().tobytes()
    return graph
