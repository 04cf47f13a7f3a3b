"""How fast a student answers: each method of this project and the peers that quantize it, against PyTorch in fp32.

One student of `albert-tiny`'s shape, random weights, the same token ids for all, one engine awake at a time, each in a
process of its own whose threads sleep between calls. A session is a set of fresh processes; a ratio is of medians within
a session, and the table gives the median over sessions with its spread.

    python -m tests.benchmarks.answering                          one thread; COMPRESS_GLUE adds SST-2's own lengths
    python -m tests.benchmarks.answering --threads 2
    python -m tests.benchmarks.answering --quick --output /tmp/quick.json

`alone` is NNCF on the model as OpenVINO itself converts it; `torchao` is `Int8DynamicActivationInt8WeightConfig` under
`torch.compile`; both where they are installed (tests/benchmarks/peers/requirements.txt). `--optimum PYTHON` and
`--neural-compressor PYTHON` add what these make in environments of their own (tests/benchmarks/peers), run as our files
are. CTranslate2 is not among them: it converts no ALBERT.

The last row is the floor: the student's matrix products at the rate that products of 8 bits reach here by themselves,
measured in the same sessions, and nothing between them. `profile` says which operators two methods' time goes to.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.arithmetic import multiply_integers
from tests.benchmarks.engines import be_quiet
from tests.benchmarks.materials import FULL, QUICK, SEED, Size, make_models
from tests.benchmarks.sessions import RESULTS, Engine, Take, alternate, summarize, write_outcome
from tests.benchmarks.tables import render_rows
from tests.benchmarks.textbrewer import tell

SESSIONS = 5
ROUNDS = 5
SECONDS_A_TURN = 0.3
LEAST_REPETITIONS = 3
OWN_TEXTS = 64
REFERENCE = "PyTorch fp32"
PROFILED = ("dynamic-int8", "packed-int8")
FLOOR = "floor: products of 8 bits alone"
FLOOR_SIDES = (1024, 2048)
PEERS = Path(__file__).parent / "peers"
Calls = Sequence[Mapping[str, Any]]
"""The inputs of one case, call by call."""


@dataclass(frozen=True)
class Made:
    """A directory that an engine loads.

    Attributes:
        path: Of the artefact.
        bytes: Of its weights and graph.
    """

    path: Path
    bytes: int


@dataclass(frozen=True)
class GraphPeer:
    """A tool that writes an ONNX file, by a script of `peers` and a Python that has what the script needs.

    Attributes:
        name: In tables.
        stem: Of its files.
        reads_graph: Whether it quantizes a graph that we have exported, or exports the model itself.
    """

    name: str
    stem: str
    reads_graph: bool

    @property
    def script(self) -> Path:
        """Takes what is quantized and the file to write."""
        return PEERS / f"{self.stem}_graph.py"

    @property
    def requirements(self) -> Path:
        """Of the script."""
        return PEERS / f"{self.stem}.txt"


GRAPH_PEERS = (
    GraphPeer("optimum-onnx", "optimum", reads_graph=False),
    GraphPeer("neural-compressor", "neural_compressor", reads_graph=True),
)


def ours() -> dict[str, Any]:
    """What is made of the student, by name: a format of `compress export`, or a method of `compress quantize`."""
    from compress.recipes.quantization import METHODS, settle

    skipped = {"bnb-int8", "bnb-nf4"}  # no faster than fp32 on a CPU (DEPENDENCIES.md)
    methods = {name: settle(method()) for name, method in METHODS.items() if name not in skipped}
    return {REFERENCE: "transformers", "onnx fp32": "onnx", "openvino fp32": "openvino", **methods}


def make_artefact(student: Path, way: Any, directory: Path) -> Made:
    """What the product makes of the student by one way."""
    from compress.converting import export_openvino
    from compress.data.task_data import load_task_data
    from compress.encoder import load_finished, model_inputs
    from compress.exporting import export_onnx
    from compress.quantization.calibration import CalibrationData
    from compress.rewriting import quantize
    from compress.tasks import resolve_task

    if way == "transformers":
        return Made(student, _weigh(student))
    encoder = load_finished(student)
    encoder.model.config.save_pretrained(directory)
    encoder.tokenizer.save_pretrained(directory)
    names = model_inputs(encoder.tokenizer)
    if way == "onnx":
        export_onnx(encoder.model, directory / "model.onnx", input_names=names)
    elif way == "openvino":
        export_openvino(encoder.model, directory, input_names=names)
    else:
        data = CalibrationData.of(load_task_data(resolve_task("sample")), holdout_seed=SEED, seed=SEED)
        quantize(way, encoder, directory, data)
    return Made(directory, _weigh(directory))


def write_graphs(student: Path, folder: Path, pythons: Mapping[GraphPeer, str]) -> dict[str, Path]:
    """The student as other tools quantize it, each by its own Python: name → file."""
    folder.mkdir()
    written = {}
    for peer, python in pythons.items():
        given = student
        if peer.reads_graph:
            given = make_artefact(student, "onnx", folder / f"{peer.stem}-input").path / "model.onnx"
        written[peer.name] = folder / f"{peer.stem}.onnx"
        command = [python, str(peer.script), str(given), str(written[peer.name])]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return written


def _weigh(directory: Path) -> int:
    kinds = {".safetensors", ".onnx", ".xml", ".bin"}
    return sum(file.stat().st_size for file in directory.iterdir() if file.suffix in kinds)


def list_cases(student: Path, size: Size, glue: str | None) -> dict[str, Calls]:
    """The cases: one text and a batch of one length, and where there is GLUE SST-2's own texts, one by one."""
    from compress.data.task_data import load_task_data, tokenize
    from compress.encoder import load_tokenizer, model_inputs
    from compress.tasks import resolve_task

    tokenizer = load_tokenizer(student)
    draw = np.random.default_rng(SEED)

    def batch(texts: int) -> dict[str, Any]:
        ids = draw.integers(1000, len(tokenizer), size=(texts, size.length))
        return {
            name: ids if name == "input_ids" else np.full_like(ids, name == "attention_mask")
            for name in names
        }

    names = model_inputs(tokenizer)
    cases: dict[str, Calls] = {f"{texts} × {size.length}": [batch(texts)] for texts in (1, size.batch)}
    task = resolve_task("sst2", glue=Path(glue)) if glue else resolve_task("sample")
    texts = load_task_data(task).validation[0].texts[: 4 if size.tiny else OWN_TEXTS]
    encoded, _ = tokenize(texts, tokenizer, max_length=size.length)
    own = [{name: np.array([encoded[name][row]]) for name in names} for row in range(len(texts))]
    return {**cases, f"{task.name}'s texts, one by one": own}


def start_ours(path: Path, cases: dict[str, Calls], threads: int) -> Take:
    """An artefact of this project, as `compress predict` runs it."""
    from compress.inference import load

    be_quiet()
    return partial(_turn, load(path, threads=threads).engine.run, cases)


def start_graph(file: Path, cases: dict[str, Calls], threads: int) -> Take:
    """An ONNX file that somebody else has written."""
    from compress.engines.onnx import OnnxEngine

    return partial(_turn, OnnxEngine(file, threads=threads).run, cases)


def start_nncf(student: Path, cases: dict[str, Calls], threads: int) -> Take:
    """NNCF as its documentation has it: the model converted by OpenVINO, post-training quantization for transformers."""
    import nncf
    import openvino
    import torch

    from compress.encoder import load_finished

    be_quiet()
    encoder = load_finished(student)
    encoder.model.eval()
    every = [call for calls in cases.values() for call in calls]
    example = {name: torch.from_numpy(array) for name, array in every[0].items()}
    graph = openvino.convert_model(encoder.model, example_input=example)
    quantized = nncf.quantize(
        graph, nncf.Dataset(every), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(every)
    )
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(quantized, "CPU", options)
    return partial(_turn, lambda call: compiled(dict(call))[0], cases)


def start_torchao(student: Path, cases: dict[str, Calls], threads: int) -> Take:
    """torchao's 8-bit weights and activations, compiled for any shape."""
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    from compress.encoder import load_finished

    be_quiet()
    torch.set_num_threads(threads)
    model = load_finished(student).model.eval()
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    compiled = torch.compile(model, dynamic=None)

    def run(call: Mapping[str, Any]) -> Any:
        with torch.inference_mode():
            return compiled(**{name: torch.from_numpy(array) for name, array in call.items()}).logits.numpy()

    return partial(_turn, run, cases)


def start_floor(sides: Sequence[int], threads: int) -> Take:
    """The machine itself: its best rate of products of 8 bits, in GFLOP a second."""
    return lambda: max(multiply_integers(side, threads=threads) for side in sides)


def _turn(run: Any, cases: Mapping[str, Calls]) -> dict[str, list[float]]:
    """For each case the milliseconds of passes over its calls, the first of which allocates and is left out."""
    found: dict[str, list[float]] = {}
    for name, calls in cases.items():
        for call in calls:
            run(call)
        times: list[float] = []
        end = time.perf_counter() + SECONDS_A_TURN
        while len(times) < LEAST_REPETITIONS or time.perf_counter() < end:
            before = time.perf_counter()
            for call in calls:
                run(call)
            times.append(1000 * (time.perf_counter() - before))
        found[name] = times
    return found


def profile_graph(file: Path, calls: Calls, *, threads: int) -> dict[str, float]:
    """Which operators an ONNX file's time goes to: shares, the largest first; the runtime's own overhead as `between`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        for _ in range(20):
            for call in calls:
                session.run(None, {name: call[name] for name in names})
        events = json.loads(Path(session.end_profiling()).read_text())
    runs = [event for event in events if event["name"] == "model_run"]
    whole = sum(event["dur"] for event in runs[len(calls) :])  # the first pass allocates
    start = runs[len(calls)]["ts"]
    spent: dict[str, float] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= start:
            kind = event["args"]["op_name"]
            spent[kind] = spent.get(kind, 0.0) + event["dur"] / whole
    shares = dict(sorted(spent.items(), key=lambda item: -item[1]))
    return {name: round(share, 3) for name, share in {**shares, "between": 1 - sum(shares.values())}.items()}


def run(
    size: Size, *, sessions: int, threads: int, pythons: Mapping[GraphPeer, str], only: Sequence[str] = ()
) -> dict[str, Any]:
    """All sessions, and what they amount to."""
    glue = os.environ.get("COMPRESS_GLUE")
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        make_models(folder, size)
        student = folder / "student"
        cases = list_cases(student, size, glue)
        made: dict[str, Made] = {}
        refused: dict[str, str] = {}
        for number, (name, way) in enumerate(ours().items()):
            if only and name not in (REFERENCE, *only):
                continue
            try:
                made[name] = make_artefact(student, way, folder / f"artefact-{number}")
            except Exception as error:
                refused[name] = str(error).partition("\n")[0]
        engines = {name: Engine(start_ours, (each.path, cases, threads)) for name, each in made.items()}
        graphs = write_graphs(student, folder / "graphs", pythons)
        engines |= {name: Engine(start_graph, (file, cases, threads)) for name, file in graphs.items()}
        engines |= {
            name: Engine(start, (student, cases, threads))
            for name, start in peers().items()
            if not only or name in only
        }
        floor = {FLOOR: Engine(start_floor, ((256,) if size.tiny else FLOOR_SIDES, threads))}
        found: list[dict[str, Any]] = []
        for number in range(sessions):
            found.append(alternate(engines | floor, rounds=ROUNDS)[0])
            tell(f"session {number + 1} of {sessions}")
        sizes = {name: each.bytes for name, each in made.items()}
        sizes |= {name: file.stat().st_size for name, file in graphs.items()}
        flops = count_operations(student, cases)
        profile = {
            name: {
                case: profile_graph(made[name].path / "model.onnx", calls, threads=threads)
                for case, calls in cases.items()
            }
            for name in PROFILED
            if name in made
        }
    return {
        "what": f"times as fast as {REFERENCE}: medians of a session, over {sessions} sessions",
        "quick": size.tiny,
        "threads": threads,
        "sessions": sessions,
        "rounds": ROUNDS,
        "bytes": sizes,
        "refused": refused,
        "floor_gflops": summarize([rate for turns in found for rate in turns[FLOOR]]),
        "cases": {case: summarize_case(found, case, flops[case]) for case in cases},
        "profile": profile,
    }


def peers() -> dict[str, Any]:
    """Those that are installed, by name."""
    import importlib.util

    known = {"NNCF alone": ("nncf", start_nncf), "torchao, compiled": ("torchao", start_torchao)}
    return {name: start for name, (package, start) in known.items() if importlib.util.find_spec(package)}


def count_operations(student: Path, cases: Mapping[str, Calls]) -> dict[str, int]:
    """Operations of a pass over a case's calls, as our graphs have them: the last layer for the pooled position alone."""
    from compress.encoder import load_config
    from compress.flops import count_flops

    config = load_config(student)

    def count(batch: int, length: int) -> int:
        whole = count_flops(config, batch=batch, length=length) or 0
        width, inner = config.hidden_size, config.intermediate_size
        a_position = (
            4 * width * (width + inner + length)
        )  # query and output, feed-forward, scores and their sum
        return whole - batch * (length - 1) * a_position

    return {case: sum(count(*call["input_ids"].shape) for call in calls) for case, calls in cases.items()}


def summarize_case(found: Sequence[Mapping[str, Any]], case: str, flops: int) -> dict[str, Any]:
    """For each engine how many times as fast as PyTorch, and its milliseconds; the floor's are reckoned."""
    medians: dict[str, list[float]] = {}
    for turns in found:
        for name, rounds in turns.items():
            took = (
                flops / 1e6 / float(np.median(rounds))
                if name == FLOOR
                else float(np.median([value for turn in rounds for value in turn[case]]))
            )
            medians.setdefault(name, []).append(took)
    reference = medians[REFERENCE]
    return {
        name: {
            "times": summarize([theirs / mine for theirs, mine in zip(reference, values, strict=True)]),
            "milliseconds": summarize(values),
        }
        for name, values in medians.items()
    }


def render(outcome: Mapping[str, Any]) -> str:
    """The table: engines down, cases across."""
    cases = outcome["cases"]
    names = list(next(iter(cases.values())))
    rows = []
    for name in names:
        cells = [name, f"{outcome['bytes'][name] / 1e6:.2f}" if name in outcome["bytes"] else ""]
        for case in cases.values():
            times = case[name]["times"]
            cells.append(f"{times['median']:.2f} ({times['low']:.2f} to {times['high']:.2f})")
        rows.append(cells)
    rows += [[name, "", *["refused"] * len(cases)] for name in outcome["refused"]]
    return render_rows(("", "MB", *cases), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, keep the record, and print the table."""
    parser = argparse.ArgumentParser(description="Compare how fast engines answer.")
    parser.add_argument("--quick", action="store_true", help="a tiny model: does it run?")
    parser.add_argument(
        "--output", type=Path, help="where the record goes; default results/answering-THREADS.json"
    )
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--threads", type=int, default=1)
    for peer in GRAPH_PEERS:
        option = f"--{peer.stem.replace('_', '-')}"
        parser.add_argument(option, help=f"a Python that has peers/{peer.requirements.name} installed")
    parser.add_argument("--only", nargs="+", default=(), help="names of rows, such as dynamic-int8")
    given = parser.parse_args(arguments)
    if given.quick and given.output is None:
        parser.error("a quick run measures nothing worth keeping: name another file with --output FILE")
    size = QUICK if given.quick else FULL
    pythons = {peer: python for peer in GRAPH_PEERS if (python := vars(given)[peer.stem])}
    outcome = run(size, sessions=given.sessions, threads=given.threads, pythons=pythons, only=given.only)
    write_outcome(given.output or RESULTS / f"answering-{given.threads}.json", outcome)
    print(render(outcome))  # noqa: T201


if __name__ == "__main__":
    main()
