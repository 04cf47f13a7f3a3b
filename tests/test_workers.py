"""Workers: asleep unless asked, gone when nobody needs them, and their end is told."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from compress import workers
from compress.errors import CompressError
from compress.memory import peak_bytes
from compress.runs import PARTS
from compress.workers import RandomTokens, Worker

ENGINES = ("pytorch", "onnxruntime")
PAUSE = 0.5
MB = 2**20
LINUX = Path("/proc/self/stat").is_file()
on_linux = pytest.mark.skipif(not LINUX, reason="/proc is Linux's")


@contextlib.contextmanager
def loaded(path, threads=1, **more):
    with Worker(path, name="m", threads=threads, **more) as worker:
        worker.wait()
        worker.load()
        yield worker


def fields_of(pid):
    """What Linux knows of a process, from its state on; None where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def is_gone(pid):
    fields = fields_of(pid)
    return fields is None or fields[0] in "ZX"  # a zombie awaits its parent and does nothing


def cpu_seconds(pid):
    """Of all threads of a process, to a hundredth of a second."""
    fields = fields_of(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="module", params=ENGINES)
def seen(request, artefacts):
    """A worker's whole life, while this process holds much: what it told, what it used, and how it failed."""
    engine = request.param
    asked, beside = RandomTokens(2, 16), RandomTokens(4, 48)
    held = b"1" * (1024 * MB)
    with Worker(artefacts[engine], name="m", threads=2) as worker:
        worker.wait()
        found = SimpleNamespace(engine=engine, pid=worker.pid, told=worker.load(), busy=0.0, idle=0.0)
        found.turn = worker.take_turn(asked)
        found.timed, found.profile = worker.take_turn(beside), worker.profile(beside)
        for _ in range(4):  # each time anew: some threads spin for a hundredth of a second, then sleep
            before = cpu_seconds(worker.pid) if LINUX else 0
            worker.take_turn(RandomTokens(8, 64))
            asleep = cpu_seconds(worker.pid) if LINUX else 0
            time.sleep(PAUSE)
            found.busy += asleep - before
            found.idle += cpu_seconds(worker.pid) - asleep if LINUX else 0
        found.peak, found.ours = worker.peak_bytes(), peak_bytes()
        with pytest.raises(CompressError) as failed:
            worker.take_turn(RandomTokens(1, 1000))  # more tokens than positions
        found.failure = failed.value
    assert held
    return found


@on_linux
def test_a_sleeping_worker_uses_no_processor(seen):
    """Guards spinning threads, which slow down whatever is measured beside them."""
    assert seen.idle <= 0.03
    assert seen.busy > 0.04  # the clock that says so does run, in hundredths of a second


def test_a_worker_tells_what_it_loaded_and_how_long_it_took(seen):
    told, turn = seen.told, seen.turn
    assert (told.engine, told.device) == (seen.engine, "cpu")
    assert told.load_seconds == told.ended - told.began > 0
    assert told.ended <= turn.began < turn.ended
    assert len(turn.milliseconds) >= 3
    assert sum(turn.milliseconds) / 1000 <= turn.ended - turn.began
    assert 50 * MB < told.baseline_bytes < seen.peak  # Python, NumPy and torch; then a model on top


def test_a_worker_tells_what_its_parts_take(seen):
    """Guards parts that are missed, and profiles of something else than what was timed: wide margins, for a busy machine."""
    profile = seen.profile
    assert profile.failure is None
    assert all(tuple(run) == PARTS for run in profile.runs)
    taken = {part: statistics.median(run[part] for run in profile.runs) for part in PARTS}
    assert 0.2 < sum(taken.values()) / statistics.median(seen.timed.milliseconds) < 5
    assert all(taken[part] > 0 for part in ("embeddings", "attention", "feed-forward", "classifier"))
    assert taken["attention"] + taken["feed-forward"] > taken["embeddings"] + taken["classifier"]


@on_linux
def test_a_worker_s_memory_is_its_own(seen):
    """Guards a peak that is inherited from the process that measures."""
    assert seen.peak < 900 * MB < seen.ours


def test_what_fails_in_a_worker_is_told_here(seen, tmp_path):
    assert "Measuring m failed" in seen.failure.problem
    assert is_gone(seen.pid)
    if seen.engine == ENGINES[0]:  # nothing is loaded
        with pytest.raises(CompressError, match="Measuring m failed"), loaded(tmp_path):
            pass


NO_MODEL = """
import json, sys; sys.path = json.loads(sys.argv[1])
import time
from compress import workers
workers._import_libraries = lambda path: None
workers._load = lambda path, threads: (path, None)
workers._take_turn = lambda predictor, work: time.sleep(60)
workers.serve(*sys.argv[2:])
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Of no model: workers are processes as ever, but import nothing and are at work until they are ended."""
    monkeypatch.setattr(workers, "START", NO_MODEL)
    return tmp_path


def test_a_killed_worker_is_told(path):
    with loaded(path) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(CompressError, match="Measuring m failed: its process was killed") as raised:
            worker.take_turn(RandomTokens(1, 8))
    assert "memory" in raised.value.fix


def test_a_worker_that_ends_is_told(path):
    with loaded(path) as worker:
        os.kill(worker.pid, signal.SIGTERM)
        with pytest.raises(CompressError, match="was ended by SIGTERM"):
            worker.take_turn(RandomTokens(1, 8))


def test_a_worker_that_hangs_is_given_up(path):
    with loaded(path) as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        worker.patience = 0.3
        with pytest.raises(CompressError, match="has not answered for 0 s"):
            worker.take_turn(RandomTokens(1, 8))
    assert is_gone(worker.pid)


def test_an_interrupted_session_leaves_no_worker(path):
    with pytest.raises(KeyboardInterrupt), loaded(path) as worker:
        raise KeyboardInterrupt
    assert is_gone(worker.pid)


MEASURING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
from pathlib import Path
from compress import workers
from compress.workers import RandomTokens, Worker
workers.START = sys.argv[1]
started = [Worker(Path(path), name="m", threads=1) for path in sys.argv[2:]]
for worker in started:
    worker.wait()
    worker.load()
print(*(worker.pid for worker in started), flush=True)
while True:
    started[0].take_turn(RandomTokens(8, 64))
"""


@on_linux
@pytest.mark.parametrize(
    ("end", "start", "engines"),
    [(signal.SIGKILL, workers.START, ENGINES), (signal.SIGINT, NO_MODEL, ENGINES[1:])],
    ids=["killed", "interrupted"],
)
def test_workers_end_with_the_process_that_measures(artefacts, end, start, engines):
    """Guards orphans: neither the one that is at work nor the one asleep outlives a killed parent."""
    parent = subprocess.Popen(
        [sys.executable, "-c", MEASURING, start, *(str(artefacts[engine]) for engine in engines)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started = list(map(int, parent.stdout.readline().split()))
        assert len(started) == len(engines)
        assert not any(map(is_gone, started))
        parent.send_signal(end)
        said = parent.communicate(timeout=30)[1]
    finally:
        parent.kill()  # a failure here must not leave a core busy for ever
    assert parent.returncode == -end
    assert wait_until(lambda: all(map(is_gone, started)), 5)
    assert said.count("Traceback") == (end == signal.SIGINT)  # the parent's own; the workers hear no Ctrl-C


def test_what_a_worker_prints_stays_off_stdout(path, capfd, monkeypatch):
    """Guards `--json`: stdout carries one JSON object and nothing else."""
    (path / "sitecustomize.py").write_text('print("said at the start")\n')
    monkeypatch.setenv("PYTHONPATH", str(path))
    with Worker(path, name="m", threads=1) as worker:
        worker.wait()
    out, err = capfd.readouterr()
    assert out == ""
    assert "said at the start" in err
