"""Every way is tried on every model by the product's own commands, and what cannot be stands there with its reason."""

import csv

import pytest
from transformers import AutoModel

from compress.runs import find_runs
from tests.benchmarks.methods import main
from tests.conftest import STUDENT, tiny_config


def told_by_the_report(folder, model):
    """How many times as fast at a batch of 1, as the table writes it."""
    with (folder / "data" / "timings.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if (row["model"], row["batch"]) == (model, "1"))
    value, low, high = (float(row[name]) for name in ("speedup", "speedup_low", "speedup_high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


@pytest.mark.usefixtures("workers_here")
def test_ways_are_compared_and_refused(tmp_path, task_file, tokenizer, capsys):
    teacher_dir = tmp_path / "tiny-bert"
    AutoModel.from_config(tiny_config("bert", tokenizer)).save_pretrained(teacher_dir)
    tokenizer.save_pretrained(teacher_dir)
    student = tmp_path / "tiny-albert.toml"
    student.write_text(STUDENT)
    store, output = tmp_path / "runs", tmp_path / "report"
    arguments = f"""--teacher {teacher_dir} --students {student} --task {task_file} --store {store} --output-dir {output}
        --sessions 1 --rounds 3 --length 16 --only embedding fp16 --training""".split()
    arguments.append('{"max_steps": 4, "max_length": 32, "bf16": false}')
    main(arguments)
    told = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in told.splitlines()
        if line.startswith("| ")
    ]
    teacher = rows[1][0]
    by_way = {(row[0], row[1]): row for row in rows[1:]}
    assert len(by_way) == 2 * 3
    assert by_way[teacher, "prune --embedding 0.25"][5:] == ["refused", "refused"]
    assert "no width of their own" in told
    whole, half = by_way["tiny-albert", "as it is"], by_way["tiny-albert", "quantize --method fp16"]
    assert float(half[2]) < float(whole[2])
    assert whole[5].startswith("1.00 (1.00 to 1.00)")
    assert float(half[5].split()[0]) > 0
    assert (output / "methods.md").read_text().endswith(told)
    assert told_by_the_report(output / "methods-tiny-albert", "tiny-albert · fp16") == half[5]
    before = {stored.run.id: stored.run.started for stored in find_runs(store)}
    main(arguments)
    assert {stored.run.id: stored.run.started for stored in find_runs(store)} == before
