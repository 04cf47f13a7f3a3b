"""A session: one model awake at a time, nothing that fails late, every quantity in the record."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from compress import api, measurement
from compress.data.task_data import Split
from compress.encoder import build_empty, count_parameters, load_config
from compress.errors import CompressError
from compress.flops import count_flops
from compress.measurement import Observed, alternate, measure
from compress.noise import find_noise
from compress.quantities import QUANTITIES
from compress.runs import RUN_FILE, File, StoredRun, read_run, write_record
from compress.tasks import resolve_task
from compress.workers import Loaded, Profile, Turn
from compress.workloads import Shape, TaskTexts, read_shape, read_texts, work_of
from tests.conftest import write_task
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

    def see(runs, *, shapes, texts, threads, rounds):
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
    assert {name for name, _ in measured} == set(QUANTITIES) - {"peak_device_memory"}
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


def texts_of(count, name="reviews"):
    texts = ["a film " * (1 + number % 5) for number in range(count)]
    return TaskTexts(name, Split("validation", texts, np.zeros(count, dtype=np.int64)))


def test_a_shape_is_read_as_it_is_typed():
    assert read_shape("32x128") == Shape(32, 128)
    assert read_shape("1xtask") == Shape(1, "task")
    for wrong in ("1", "0x8", "1x0", "xtask", "1xtasks", "0xtask"):
        with pytest.raises(CompressError, match="is no shape"):
            read_shape(wrong)


def test_batches_of_a_task_are_a_seeded_sample_in_the_order_of_the_texts():
    texts = texts_of(1000)
    one, many = work_of(Shape(1, "task"), texts), work_of(Shape(32, "task"), texts)
    assert [len(batch) for batch in one.batches] == [1] * 64
    assert [len(batch) for batch in many.batches] == [32] * 31
    assert [text for batch in many.batches for text in batch] == texts.split.texts[: 31 * 32]
    assert work_of(Shape(1, "task"), texts) == one


def test_the_first_split_with_labels_is_taken(tmp_path):
    task = resolve_task(str(write_task(tmp_path, train=20, validation=10)))
    texts = read_texts(task)
    assert (texts.task, len(texts.split)) == ("reviews", 10)


def test_a_task_s_own_lengths_are_timed_batch_by_batch(runs):
    """Guards texts that are padded to one length, and batches that are timed more than once a turn."""
    texts = texts_of(40)
    shape = Shape(4, "task")
    seen = alternate(runs, shapes=[shape], texts=texts, threads=1, rounds=2)
    for each in seen.values():
        assert [len(turn.milliseconds) for turn in each.turns[shape]] == [10, 10]
        assert len(each.profiles[shape].runs) == 10
        assert each.device_peak_bytes is None


def test_a_record_says_which_texts_were_timed(runs, observed):
    texts = texts_of(40)
    session = measure(runs, shapes=[Shape(4, "task")], texts=texts, threads=2)[0]
    latency = next(m for m in session.measurements if m.name == "latency")
    assert latency.conditions == {
        "batch": 4,
        "length": "task",
        "task": "reviews",
        "texts": 40,
        "fingerprint": texts.split.fingerprint,
        "threads": 2,
        "device": "cpu",
    }
    throughput = next(m for m in session.measurements if m.name == "throughput")
    means = [1000 * 4 * len(samples) / sum(samples) for samples in MILLISECONDS]
    assert min(means) <= throughput.value <= max(means)
    assert not [m for m in session.measurements if m.name == "flops"]
    assert measure(runs, shapes=[Shape(4, "task")], texts=texts, threads=2)[0] == session
    measure(runs, shapes=[Shape(4, "task")], texts=texts_of(41), threads=2)  # the same sample of 40: cached
    measure(runs, shapes=[Shape(4, "task")], texts=texts_of(48), threads=2)
    assert len(observed) == 2


def test_too_few_texts_are_told_before_anything_is_timed(runs, observed):
    with pytest.raises(CompressError, match="10 texts, which make no batch of 32"):
        measure(runs, shapes=[Shape(32, "task")], texts=texts_of(10))
    assert observed == []


def test_runs_of_several_tasks_have_no_texts_in_common(runs):
    task = runs[0].run.answered_task.model_copy(update={"name": "another"})
    other = StoredRun(runs[1].run.model_copy(update={"task": task}), runs[1].path)
    with pytest.raises(CompressError, match="answer several tasks, another, "):
        api._common_texts([runs[0], other], None)


def test_each_number_of_threads_has_a_session(runs, observed, monkeypatch):
    monkeypatch.setattr(api, "collect_runs", lambda *_, **__: runs)
    records = api.measure(["x"], shapes=SHAPES, threads=[1, 2, 1])
    assert [asked[2] for asked in observed] == [1, 2]
    assert len({record.session for record in records}) == 2


def test_a_noisy_session_is_warned_of(runs, observed, monkeypatch, caplog):
    monkeypatch.setattr(api, "collect_runs", lambda *_, **__: runs)
    records = api.measure(["x"], shapes=SHAPES, rounds=2)  # rounds' medians of 3 and 5 ms
    assert "too noisy" in caplog.text
    found = find_noise(records)
    assert len(found) == 4
    assert found[0].spread == pytest.approx(0.25)  # quartiles 3.5 and 4.5 about 4


def test_a_steady_session_is_not_warned_of(runs, observed):
    records = measure(runs, shapes=SHAPES[:1], rounds=2)
    steady = [
        record.model_copy(
            update={
                "measurements": tuple(
                    m.model_copy(update={"samples": ((3.0,), (3.1,))}) if m.name == "latency" else m
                    for m in record.measurements
                )
            }
        )
        for record in records
    ]
    assert find_noise(steady) == []
