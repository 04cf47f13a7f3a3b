"""A session: one model awake at a time, nothing that fails late, every quantity in the record."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from compress import measurement
from compress.encoder import build_empty, count_parameters, load_config
from compress.errors import CompressError
from compress.flops import count_flops
from compress.measurement import Observed, Shape, alternate, measure
from compress.quantities import QUANTITIES
from compress.runs import RUN_FILE, File, StoredRun, read_run, write_record
from compress.workers import Loaded, Profile, Turn
from tests.test_runs import a_run

SHAPES = (Shape(1, 16), Shape(4, 32))
PARTS_OF_A_RUN = {"embeddings": 0.5, "attention": 1.0, "feed-forward": 2.0, "classifier": 0.25, "other": 0.25}
MILLISECONDS = ((2.0, 4.0, 3.0), (5.0, 9.0, 4.0))


@pytest.fixture
def runs(artefacts, tmp_path):
    """The artefacts as two finished runs, in directories that may be written to."""
    stored = []
    for number, source in enumerate(artefacts.values()):
        directory = tmp_path / f"finetune-{number:08x}"
        directory.mkdir()
        for file in source.iterdir():
            (directory / file.name).symlink_to(file)
        write_record(directory / RUN_FILE, a_run(key=f"{number:08x}", files={"x": File(bytes=1, sha256="0")}))
        stored.append(read_run(directory))
    return stored


@pytest.fixture
def observed(monkeypatch):
    """Sessions without workers: every shape is seen to take `MILLISECONDS`; holds what was asked for."""
    asked = []

    def see(runs, *, shapes, threads, rounds):
        asked.append(([stored.run.id for stored in runs], tuple(shapes), threads, rounds))
        turns = {shape: [Turn(0.0, 1.0, samples) for samples in MILLISECONDS] for shape in shapes}
        loaded = Loaded("onnxruntime", "cpu", 0.0, 0.5, 0.5, 300)
        profiles = dict.fromkeys(shapes, Profile((PARTS_OF_A_RUN, PARTS_OF_A_RUN)))
        return {stored.run.id: Observed(loaded, turns, 500, profiles) for stored in runs}

    monkeypatch.setattr(measurement, "alternate", see)
    return asked


def test_one_model_is_awake_at_a_time(runs):
    """Guards timings of models that disturb each other, while loading as well."""
    seen = alternate(runs, shapes=SHAPES, threads=2, rounds=3)
    assert [len(seen[stored.run.id].turns[shape]) for stored in runs for shape in SHAPES] == [3] * 4
    assert all(seen[stored.run.id].profiles.keys() == set(SHAPES) for stored in runs)
    spans = []
    for name, each in seen.items():
        spans.append((each.loaded.began, each.loaded.ended, name))
        spans += [(turn.began, turn.ended, name) for turns in each.turns.values() for turn in turns]
    spans.sort()
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    order = [name for name, _ in itertools.groupby(name for _, _, name in spans)]
    first, second = (stored.run.id for stored in runs)
    assert order == [first, second, first, second, first, second]  # loading; 1st; 2nd backwards; 3rd


def test_a_record_holds_every_quantity(runs, observed):
    sessions = measure(runs, shapes=SHAPES, threads=2, rounds=2)
    assert [session.run for session in sessions] == [stored.run.id for stored in runs]
    measured = {(m.name, m.conditions.get("batch")): m for m in sessions[0].measurements}
    assert {name for name, _ in measured} == set(QUANTITIES)
    every = np.ravel(MILLISECONDS)
    latency, tail = measured["latency", 4], measured["latency_p95", 4]
    throughput = measured["throughput", 4]
    assert (latency.value, latency.n, latency.samples) == (4.0, 6, MILLISECONDS)
    assert tail.value == np.quantile(every, 0.95)
    rounds = [np.quantile(samples, 0.95) for samples in MILLISECONDS]
    assert (tail.low, tail.high) == (min(rounds), max(rounds))
    assert throughput.value == pytest.approx(4 / 0.004)
    assert throughput.low == pytest.approx(4000 / latency.high)
    assert throughput.high == pytest.approx(4000 / latency.low)
    assert [m.name for m in sessions[0].measurements if m.higher_is_better] == ["throughput"] * 2
    flops = measured["flops", 4]
    assert (flops.unit, flops.n) == ("FLOP", 1)
    assert flops.value == count_flops(load_config(runs[0].path), batch=4, length=32)
    memory = [measured[name, None].value for name in ("load_time", "baseline_memory", "peak_memory")]
    assert memory == [0.5, 300, 500]
    assert read_run(runs[1].path).sessions == [sessions[1]]


def test_a_record_holds_the_milliseconds_of_each_part(runs, observed):
    session = measure(runs, shapes=SHAPES, threads=2)[0]
    told = [m for m in session.measurements if m.name == "part_latency"]
    where = {"batch": 4, "length": 32, "threads": 2, "device": "cpu"}
    assert {m.conditions["part"]: m.value for m in told if m.conditions["batch"] == 4} == PARTS_OF_A_RUN
    assert {"part": "attention", **where} in [m.conditions for m in told]
    assert all((m.n, m.unit) == (2, "ms") for m in told)


def test_what_cannot_be_profiled_is_said_and_left_out(runs, observed, monkeypatch, caplog):
    see = measurement.alternate

    def unprofiled(*given, **more):
        return {
            name: replace(
                seen, profiles=dict.fromkeys(seen.profiles, Profile((), failure="no profiler here"))
            )
            for name, seen in see(*given, **more).items()
        }

    monkeypatch.setattr(measurement, "alternate", unprofiled)
    session = measure(runs, shapes=SHAPES)[0]
    assert not [m for m in session.measurements if m.name == "part_latency"]
    assert "no profiler here" in caplog.text


def test_a_record_holds_sizes_by_file_and_parameters_by_part(runs, observed):
    (runs[0].path / "README.md").write_text("a card, which nobody ships")
    sessions = measure(runs, shapes=SHAPES)
    sizes = [
        {m.conditions["file"]: m.value for m in session.measurements if m.name == "file_bytes"}
        for session in sessions
    ]
    plain, graph = sizes
    assert plain.keys() - graph.keys() == {"model.safetensors"}
    assert graph.keys() - plain.keys() == {"model.onnx"}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= plain.keys() & graph.keys()
    assert "README.md" not in plain
    assert plain["model.safetensors"] == (runs[0].path / "model.safetensors").stat().st_size
    counts = [
        {m.conditions["part"]: m.value for m in session.measurements if m.name == "parameters"}
        for session in sessions
    ]
    assert counts[0] == counts[1]  # the graph's are those of its architecture
    assert sum(counts[0].values()) == count_parameters(build_empty(load_config(runs[0].path)))


def test_what_is_named_twice_is_measured_once(runs, observed):
    measure([*runs, runs[0]], shapes=[*SHAPES, SHAPES[0]])
    assert observed == [([stored.run.id for stored in runs], SHAPES, 1, 10)]
    measure(runs, shapes=SHAPES)  # the same session: kept
    assert len(observed) == 1
    measure(runs, shapes=SHAPES, force=True)
    assert len(observed) == 2


def test_a_session_that_recorded_less_is_no_match(runs, observed, monkeypatch):
    monkeypatch.setattr(measurement, "QUANTITIES", ("latency",))
    measure(runs, shapes=SHAPES)
    monkeypatch.undo()
    monkeypatch.setattr(measurement, "alternate", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(pytest.fail.Exception, match="measured"):
        measure(runs, shapes=SHAPES)


def test_a_session_of_other_versions_is_no_match(runs, observed, monkeypatch):
    """Guards the latencies of an engine that has been replaced since."""
    first = measure(runs, shapes=SHAPES, rounds=2)
    here = measurement.describe()
    other = here.model_copy(update={"versions": {**here.versions, "onnxruntime": "0.0.1"}})
    monkeypatch.setattr(measurement, "describe", lambda: other)
    assert measure(runs, shapes=SHAPES, rounds=2)[0].session != first[0].session
    own = here.model_copy(update={"versions": {**here.versions, measurement.OURSELVES: "0.0.1"}})
    monkeypatch.setattr(measurement, "describe", lambda: own)
    assert measure(runs, shapes=SHAPES, rounds=2)[0].session == first[0].session


def test_what_does_not_fit_is_told_before_anything_is_timed(runs, observed):
    with pytest.raises(CompressError, match="at most 64 tokens, not 65") as raised:
        measure(runs, shapes=[Shape(1, 8), Shape(1, 65)])
    assert all(stored.run.id in raised.value.problem for stored in runs)
    assert "BATCHx64" in raised.value.fix
    assert observed == []


def test_a_store_that_cannot_be_written_is_told_before_anything_is_timed(runs, observed):
    """Guards minutes of measuring for nothing."""
    (runs[1].path / "measurements").write_text("a file where a directory should be")
    with pytest.raises(CompressError, match="cannot be written"):
        measure(runs, shapes=SHAPES)
    assert observed == []


def test_a_run_whose_files_changed_is_measured_as_it_is(runs, observed):
    (runs[0].path / "notes.txt").write_text("added since")
    assert len(measure([StoredRun(runs[0].run, runs[0].path)], shapes=SHAPES)) == 1
