import io

import pytest
from rich.console import Console

from compress.reporting import write_report
from compress.reporting.terminal import render_table


def printed(report, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(render_table(report))
    return stream.getvalue()


def test_the_table_prints_the_numbers_computed_by_hand(written):
    text = printed(written.report)
    for number in (
        "90.0 MB",
        "18.0 MB",
        "5.00× smaller",
        "4.50 M",
        "3.00× faster",
        "0.825",
        "n = 400",
        "91.7 %",
    ):
        assert number in text
    assert "baseline" in text
    assert "! Concerns the headline. Trained with one seed only" in text
    (told,) = [line for line in text.splitlines() if line.startswith("The best constant answer scores")]
    assert told.strip() == "The best constant answer scores 0.532."  # a line of its own, no escaped break


@pytest.mark.parametrize("width", [100, 140])
def test_it_fits_100_columns(written, width):
    lines = printed(written.report, width).splitlines()
    assert max(len(line) for line in lines if "!" not in line and "keeps" not in line) <= 100
    assert "…" not in printed(written.report)


def test_markup_and_control_characters_are_shown_not_obeyed(kit, store, tmp_path):
    run = store.add(
        "[bold]x[", kit.FINETUNE, size=1, parameters=1, seed=1, environment=kit.environment(cpu="\x1b[2J")
    )
    store.measure([(run, [[1.0]])])
    report = write_report([run], tmp_path / "r", command="c")
    text = printed(report)
    assert any(line.startswith(" [bold]x[") for line in text.splitlines())
    assert "\x1b" not in text
