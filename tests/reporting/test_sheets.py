"""The CSV files: a row for each number, the same as the report's."""

import csv
import io

import pytest

from compress.reporting import write_report
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.sheets import render_sheets


@pytest.fixture(scope="module")
def sheets(written):
    found = {}
    for name in ("models", "scores", "timings"):
        with (written.path / "data" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            found[name] = list(csv.DictReader(stream))
    return found


def test_a_row_for_each_model(sheets, written):
    """What the page's table says, with every digit that counts."""
    (section,) = written.report.sections
    assert [line["runs"] for line in sheets["models"]] == [row.run.id for row in section.rows]
    teacher, student = sheets["models"][:2]
    assert (teacher["baseline"], teacher["kept"], teacher["smaller"]) == ("yes", "", "1")
    row = section.rows[1]
    assert (student["baseline"], student["model"], student["seeds"]) == ("no", "albert-tiny", "42")
    assert (int(student["bytes"]), int(student["parameters"])) == (row.bytes, row.run.parameters)
    assert float(student["value"]) == pytest.approx(row.primary.score.value, rel=1e-5)
    assert float(student["kept_high"]) == pytest.approx(row.primary.retention.high, rel=1e-5)
    speed = section.timing.find(row.run.id).speedup
    assert float(student["speedup"]) == pytest.approx(speed.value, rel=1e-5)


def test_seeds_and_tasks_are_means(store, kit, tmp_path):
    runs = []
    for task in ("sst2", "rte"):
        asked = kit.TASK.model_copy(update={"name": task})
        for name, size, seeds in (("big", 9, (1,)), ("small", 3, (1, 2))):
            for seed in seeds:
                runs.append(store.add(name, kit.FINETUNE, size=size, parameters=size, task=asked, seed=seed))
                store.evaluate(runs[-1], kit.answers(40 * seed, seed))
    report = write_report(runs, tmp_path / "report", command="c")
    with (tmp_path / "report" / "data" / "models.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["task"], line["model"], line["seeds"]) for line in lines] == [
        ("rte", "big", "1"),
        ("rte", "small", "1 2"),
        ("sst2", "big", "1"),
        ("sst2", "small", "1 2"),
        ("mean", "big", ""),
        ("mean", "small", ""),
    ]
    kept = report.overview.rows[1].kept
    assert float(lines[-1]["kept"]) == pytest.approx(kept.value, rel=1e-5)
    assert lines[-1]["metric"] == "mean of sst2 rte"
    assert len(lines[-1]["runs"].split()) == 4


def test_a_row_for_each_run_split_and_metric(sheets, written):
    (section,) = written.report.sections
    expected = {
        (row.run.id, metric)
        for row in section.rows
        for metric in ("accuracy", "agreement", "expected_calibration_error")
        if (row.run.id, metric) != (section.baseline, "agreement")
    }
    assert {(line["run"], line["metric"]) for line in sheets["scores"]} == expected
    assert len(sheets["scores"]) == len(expected)
    row = section.rows[1]
    line = next(
        each for each in sheets["scores"] if (each["run"], each["metric"]) == (row.run.id, "accuracy")
    )
    assert (line["task"], line["model"], line["split"], line["n"]) == (
        "sample",
        "albert-tiny",
        "validation",
        "400",
    )
    assert float(line["value"]) == pytest.approx(row.primary.score.value, rel=1e-5)
    assert float(line["kept_low"]) == pytest.approx(row.primary.retention.low, rel=1e-5)
    assert line["evaluation"] == row.primary.evaluation


def test_a_row_for_each_run_and_condition(sheets, written):
    (section,) = written.report.sections
    assert [(line["run"], line["speedup"]) for line in sheets["timings"]] == [
        (timing.run, f"{timing.speedup.value:.6g}" if timing.speedup else "")
        for timing in section.timing.timings
    ]
    assert {(line["batch"], line["length"], line["threads"]) for line in sheets["timings"]} == {
        ("1", "128", "1")
    }
    assert {line["peak_bytes"] for line in sheets["timings"]} == {"300000000"}
    assert {line["device_peak_bytes"] for line in sheets["timings"]} == {""}
    for line in sheets["timings"]:
        known = section.timing.find(line["run"]).quantities
        assert float(line["texts_per_second"]) == pytest.approx(known["throughput"], rel=1e-5)
        assert float(line["p95_milliseconds"]) == pytest.approx(known["latency_p95"], rel=1e-5)


def test_whose_own_texts_were_timed_stands_with_their_times(trio, kit, tmp_path):
    """Guards two columns that look alike and tell different times."""
    pair = [(trio.teacher, kit.steady(12.0)), (trio.student, kit.steady(4.0))]
    for session, texts in (("s2", 64), ("s3", 128)):
        own = {"length": "task", "task": "sample", "texts": texts, "fingerprint": f"f{texts}"}
        trio.store.measure(pair, session=session, **own)
    write_data(trio.runs, tmp_path / "r", title="T", command="c")
    text = render_sheets(compare(read_data(tmp_path / "r")))["timings.csv"]
    lines = csv.DictReader(io.StringIO(text))
    assert {
        tuple(line[name] for name in ("length", "texts_of", "texts", "fingerprint")) for line in lines
    } == {
        ("128", "", "", ""),
        ("task", "sample", "64", "f64"),
        ("task", "sample", "128", "f128"),
    }
