"""The CSV files: a row for each number, the same as the report's."""

import csv

import pytest


@pytest.fixture(scope="module")
def sheets(written):
    found = {}
    for name in ("scores", "timings"):
        with (written.path / "data" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            found[name] = list(csv.DictReader(stream))
    return found


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
