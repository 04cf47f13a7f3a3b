"""Every pass is made of every seed by the product's own commands, and the report holds them all."""

from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoModel, set_seed

import compress
from compress.reporting import check_report
from compress.runs import find_runs, read_run
from compress.workloads import Shape
from tests.benchmarks import glue
from tests.conftest import tiny_config
from tests.distillation.test_stages import STUDENTS, TEACHER


@pytest.mark.usefixtures("corpus_folder")
def test_every_pass_is_made_and_told(tmp_path, task_file, tokenizer, monkeypatch):
    set_seed(0)
    config = tiny_config("bert", tokenizer, num_hidden_layers=4, hidden_size=24)
    AutoModel.from_config(config).save_pretrained(tmp_path / "tiny-bert")
    tokenizer.save_pretrained(tmp_path / "tiny-bert")
    (tmp_path / "teachers").mkdir()
    teacher = tmp_path / "teachers" / "tiny-teacher.toml"
    teacher.write_text(TEACHER)
    student = tmp_path / "tiny-albert.toml"
    student.write_text(STUDENTS)
    monkeypatch.setattr(glue, "UNLEARNT", {str(task_file)})
    monkeypatch.setattr(glue, "LENGTHS", {str(task_file): 20})
    measured = []
    monkeypatch.setattr(compress, "measure", lambda paths, **how: measured.append((paths, how)))
    store, output = tmp_path / "runs", tmp_path / "report"
    schedule = '{"max_steps":4,"max_length":24,"bf16":false}'
    arguments = f"""--teacher {teacher} --student {student} --corpus {tmp_path / "corpus"} --store {store}
        --tasks {task_file} --seeds 1 2 --pieces 30 --recovery {schedule}
        --sessions 1 --rounds 1 --length 16""".split()
    glue.main(arguments)
    assert not output.exists()  # nothing was said of one
    glue.main([*arguments, "--output-dir", str(output)])
    assert check_report(output) == []
    told = [stored for stored in find_runs(output / "data") if stored.evaluations]
    ((paths, how),) = measured  # each takes seconds; how it is done has tests of its own
    seeds = {stored.path: stored.run.seed for stored in map(read_run, map(Path, paths))}
    assert len(seeds) == 1 + 7
    assert len({seed for path, seed in seeds.items() if path.parent.name == "tiny-albert"}) == 1
    assert how == {
        "shapes": [Shape(1, 16), Shape(1, "task")],
        "rounds": 1,
        "sessions": 1,
        "runs": store,
        "glue": None,
    }
    assert {
        each.batches.max_length
        for stored in told
        for each in stored.evaluations
        if stored.run.stage.kind == "finetune" or getattr(stored.run.stage, "method", None) == "logits"
    } == {20}
    assert any(getattr(stored.run.stage, "method", None) == "logits" for stored in told)
    made = Counter(stored.run.stage.kind for stored in told if stored.run.name == "tiny-albert")
    assert made == {"finetune": 2, "distill": 2 * 4, "quantize": 2 * 2}
