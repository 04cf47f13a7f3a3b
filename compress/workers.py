"""Processes that hold one model each, and sleep on a pipe until their turn comes.

A worker is a Python of its own: it runs nothing of the program that measures, neither keeps that program's memory nor
hears its Ctrl-C, and prints to stderr alone. It ends when it is closed, and when the process that started
it ends, however that happens.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from compress.errors import CompressError, first_line
from compress.memory import (
    device_peak_bytes,
    forget_device_peak,
    forget_peak,
    peak_bytes,
    resident_bytes,
)

if TYPE_CHECKING:
    from compress.engines import Milliseconds
    from compress.inference import Predictor

PATIENCE = 600.0
"""Seconds until a worker that does not answer is given up; a turn takes about one."""
SECONDS_A_TURN = 0.25
"""A shape is run until this time has passed, three times at the least."""
LEAST_REPETITIONS = 3
MOST_PROFILED = 50
"""Runs whose parts are timed: a runtime's profiler writes a line for each node of each."""

START = "import json, sys; sys.path = json.loads(sys.argv[1]); from compress.workers import serve; serve(*sys.argv[2:])"
"""Where modules are found is handed on: a checkout or a test may have added to it."""
QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Read when the libraries load: idle OpenMP threads sleep at once instead of spinning."""


@dataclass(frozen=True)
class Loaded:
    """A worker's word of its model: what runs it, and what loading took.

    Attributes:
        engine: What runs it: `pytorch`, `onnxruntime`, `openvino`, …
        device: Where it runs.
        began: On the machine's monotonic clock, in seconds.
        ended: The same.
        load_seconds: From the files to the first answer, one token long: so weights that the system reads only when they
            are touched are read. Libraries were imported before; files may have been in the system's cache.
        baseline_bytes: What the process held before: Python and its libraries.
    """

    engine: str
    device: str
    began: float
    ended: float
    load_seconds: float
    baseline_bytes: int


@dataclass(frozen=True)
class Turn:
    """Repeated runs of one shape: when (on the machine's monotonic clock, in seconds), and how long each took."""

    began: float
    ended: float
    milliseconds: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """Milliseconds of each part, run by run or in the mean of all; none, and why, where an engine cannot be profiled."""

    runs: tuple["Milliseconds", ...]
    failure: str | None = None


@dataclass(frozen=True)
class RandomTokens:
    """A batch of random token ids, nothing padded, that is run again and again for a short while."""

    batch: int
    length: int


@dataclass(frozen=True)
class TextBatches:
    """Batches of texts or pairs, each padded to its own longest and run once."""

    batches: tuple[tuple[str | tuple[str, str], ...], ...]


Work = RandomTokens | TextBatches


@dataclass(frozen=True)
class _Profiled:
    work: Work


_LOAD = "load"
_PEAK = "peak"
_DEVICE_PEAK = "device peak"


class Worker:
    """One process with one model; a context manager, which ends the process.

    It starts at once and imports its libraries while nobody waits. Every method waits for the worker's answer and
    raises CompressError where there is none: it died, was killed, or has been silent for `patience` seconds.

    Args:
        path: A finished artefact.
        name: Of the model, for messages.
        threads: Of its engine.
        patience: Seconds to wait for an answer.
    """

    def __init__(self, path: Path, *, name: str, threads: int, patience: float = PATIENCE) -> None:
        self.name = name
        self.patience = patience
        self._pipe, theirs = Pipe()
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(path.resolve()), str(threads)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *arguments],
                stdin=subprocess.PIPE,  # never written to: it closes when this process ends
                stdout=2,  # stdout carries the command's result
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is this process's to handle
                env=_environment(os.environ, threads),
            )

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def wait(self) -> None:
        """Wait until its libraries are imported."""
        self._receive()

    def load(self) -> Loaded:
        """Load the model, once `wait` has returned."""
        return self._ask(_LOAD)  # type: ignore[no-any-return]

    def take_turn(self, work: Work) -> Turn:
        """Answer batches, and say how long each took."""
        return self._ask(work)  # type: ignore[no-any-return]

    def profile(self, work: Work) -> Profile:
        """Answer batches while a clock is kept at each part, which slows them down."""
        return self._ask(_Profiled(work))  # type: ignore[no-any-return]

    def peak_bytes(self) -> int:
        """The most that its process held since the model began to load."""
        return self._ask(_PEAK)  # type: ignore[no-any-return]

    def device_peak_bytes(self) -> int | None:
        """The most that the model held on a GPU; None where it runs on none."""
        return self._ask(_DEVICE_PEAK)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process: it keeps nothing that would be lost."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: object) -> Any:
        try:
            self._pipe.send(request)
        except OSError:
            raise self._explain_end() from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(self.patience):
                raise CompressError(
                    f"Measuring {self.name} failed: its process has not answered for {self.patience:.0f} s.",
                    "Choose smaller batches (--shape BATCHxLENGTH), or see what else keeps this machine busy.",
                )
            answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise self._explain_end() from None
        if isinstance(answer, CompressError):
            raise CompressError(f"Measuring {self.name} failed: {answer.problem}", answer.fix)
        return answer

    def _explain_end(self) -> CompressError:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = None
        if status == -signal.SIGKILL:
            return CompressError(
                f"Measuring {self.name} failed: its process was killed (SIGKILL).",
                "Most often the machine's memory was full: choose smaller batches (--shape BATCHxLENGTH), or measure "
                "fewer models at a time.",
            )
        how = "closed its pipe" if status is None else f"ended with status {status}"
        if status is not None and status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        return CompressError(
            f"Measuring {self.name} failed: its process {how}.", "What it printed above may say why."
        )


def _environment(inherited: Mapping[str, str], threads: int) -> dict[str, str]:
    return {**inherited, **QUIET_THREADS, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}


def serve(descriptor: str, path: str, threads: str) -> None:
    """What a worker does, from its first line to its end.

    Args:
        descriptor: Of its end of the pipe.
        path: The artefact.
        threads: Of the engine.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe = Connection(int(descriptor))
    try:
        _import_libraries(Path(path))
        pipe.send(None)
        predictor: Predictor | None = None
        while True:
            request = pipe.recv()
            if request == _LOAD:
                predictor, answer = _load(Path(path), int(threads))
                pipe.send(answer)
            elif request == _PEAK:
                pipe.send(peak_bytes())
            elif request == _DEVICE_PEAK:
                on_gpu = predictor is not None and predictor.engine.device == "cuda"
                pipe.send(device_peak_bytes() if on_gpu else None)
            elif predictor is not None and isinstance(request, _Profiled):
                pipe.send(_profile(predictor, request.work))
            elif predictor is not None:
                pipe.send(_take_turn(predictor, request))
    except (EOFError, ConnectionError):
        return
    except Exception as error:  # whatever it is, the process that asked must hear of it
        if os.environ.get("COMPRESS_DEBUG") == "1":
            raise
        pipe.send(_as_told(error))


def _end_with_parent() -> None:
    """Wait for the pipe on stdin to close, as it does when the parent ends, and end at once, mid-turn if need be."""
    os.read(0, 1)
    os._exit(1)


def _as_told(error: Exception) -> CompressError:
    if isinstance(error, CompressError):
        return error
    return CompressError(
        f"{type(error).__name__}: {error}",
        "Choose smaller batches (--shape BATCHxLENGTH) if it is about memory; COMPRESS_DEBUG=1 shows where it arose.",
    )


def _import_libraries(path: Path) -> None:
    """Import all that loading will need: `transformers` imports a model's module and the tokenizers when first asked."""
    from transformers.utils.logging import disable_progress_bar

    from compress.encoder import load_config, load_tokenizer
    from compress.engines import import_libraries

    disable_progress_bar()  # type: ignore[no-untyped-call]
    load_tokenizer(path)
    import_libraries(path, load_config(path))


def _load(path: Path, threads: int) -> tuple["Predictor", Loaded]:
    from compress.inference import load

    forget_peak()
    forget_device_peak()
    baseline = resident_bytes()
    began = time.monotonic()
    predictor = load(path, threads=threads)
    predictor.engine.run(_random_inputs(predictor, RandomTokens(1, 1)))
    ended = time.monotonic()
    engine = predictor.engine
    return predictor, Loaded(engine.name, engine.device, began, ended, ended - began, baseline)


def _random_inputs(predictor: "Predictor", shape: RandomTokens) -> dict[str, Any]:
    words = sorted(set(range(len(predictor.tokenizer))) - set(predictor.tokenizer.all_special_ids))
    ids = np.random.default_rng(0).choice(words, size=(shape.batch, shape.length)).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: inputs[name] for name in predictor.tokenizer.model_input_names if name in inputs}


def _take_turn(predictor: "Predictor", work: Work) -> Turn:
    batches = _prepare(predictor, work)
    random = isinstance(work, RandomTokens)
    times: list[float] = []
    began = time.monotonic()
    end = time.perf_counter() + SECONDS_A_TURN
    while len(times) < len(batches) or (
        random and (len(times) < LEAST_REPETITIONS or time.perf_counter() < end)
    ):
        inputs = batches[len(times) % len(batches)]
        before = time.perf_counter()
        predictor.engine.run(inputs)
        times.append((time.perf_counter() - before) * 1000)
    return Turn(began, time.monotonic(), tuple(times))


def _profile(predictor: "Predictor", work: Work) -> Profile:
    """As many runs as a turn has; whatever keeps a runtime from being profiled is no reason to lose what was timed."""
    from compress.engines import Profiler

    repetitions = min(len(_take_turn(predictor, work).milliseconds), MOST_PROFILED)
    batches = _prepare(predictor, work)
    if len(batches) == 1:
        batches *= repetitions
    if not isinstance(predictor.engine, Profiler):
        return Profile((), failure=f"{predictor.engine.name} has no profile")
    try:
        return Profile(tuple(predictor.engine.profile(batches)))
    except Exception as error:  # runtimes' errors derive from Exception alone
        return Profile((), failure=f"{type(error).__name__}: {first_line(error)}")


def _prepare(predictor: "Predictor", work: Work) -> list[dict[str, Any]]:
    """The batches of a turn as the model takes them; no clock runs yet."""
    if isinstance(work, RandomTokens):
        return [_random_inputs(predictor, work)]
    from compress.data.task_data import tokenize

    prepared = []
    for texts in work.batches:
        encoded, _ = tokenize(list(texts), predictor.tokenizer, max_length=predictor.max_length)  # type: ignore[arg-type]
        wanted = {name: encoded[name] for name in predictor.tokenizer.model_input_names if name in encoded}
        arrays = predictor.tokenizer.pad(wanted, return_tensors="np")
        prepared.append({name: np.asarray(arrays[name], dtype=np.int64) for name in wanted})
    return prepared
