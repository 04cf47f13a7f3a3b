import shutil
import subprocess

import pytest

from compress.errors import CompressError
from compress.reporting.data import read_data, write_data


def write(runs, output_dir, **more):
    write_data(runs, output_dir, **({"title": "T", "command": "compress report runs"} | more))


def test_data_are_the_runs_own_bytes_and_sha256sum_accepts_them(trio, tmp_path):
    write(trio.runs, tmp_path / "report")
    data = tmp_path / "report" / "data"
    for stored in trio.runs:
        for file in (
            "run.json",
            "evaluations/e0000000.json",
            "evaluations/e0000000.parquet",
            "measurements/s1.json",
        ):
            copied = data / "sample" / stored.run.name / f"{stored.run.stage.kind}-{stored.run.key}" / file
            assert copied.read_bytes() == (stored.path / file).read_bytes()
    check = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=data, capture_output=True, text=True, check=True
    )
    listed = [line.partition(":")[0] for line in check.stdout.splitlines()]
    assert listed == sorted(
        p.relative_to(data).as_posix() for p in data.rglob("*") if p.is_file() and p.name != "SHA256SUMS"
    )


def test_weights_and_strangers_files_stay_behind(trio, tmp_path):
    (trio.student.path / "model.safetensors").write_bytes(b"weights")
    (trio.student.path / "evaluations" / "notes.txt").write_text("private")
    write(trio.runs, tmp_path / "report")
    names = {path.name for path in (tmp_path / "report").rglob("*")}
    assert not names & {"model.safetensors", "notes.txt"}


def test_sessions_with_strangers_only_are_not_copied(trio, kit, tmp_path):
    trio.store.measure(
        [(trio.student, kit.steady(4.0)), (trio.teacher, kit.steady(9.0))], session="with-stranger"
    )
    trio.store.measure([(trio.student, kit.steady(4.0))], session="alone")
    write([trio.student, trio.int8], tmp_path / "report")
    copied = {path.stem for path in (tmp_path / "report").rglob("distill-*/measurements/*.json")}
    assert copied == {"s1", "alone"}


def test_data_come_back_as_they_went_in(trio, tmp_path):
    write(trio.runs, tmp_path / "report", baseline="minilm-l6")
    data = read_data(tmp_path / "report")
    assert data.manifest.runs == tuple(sorted(stored.run.id for stored in trio.runs))
    assert data.manifest.baseline == "minilm-l6"
    by_id = {each.run.id: each for each in data.runs}
    for stored in trio.runs:
        each = by_id[stored.run.id]
        assert each.run == stored.run
        assert list(each.evaluations) == stored.evaluations
        assert list(each.sessions) == stored.sessions
        assert list(each.history) == stored.history


def test_predictions_are_sorted_by_row(trio, kit, tmp_path):
    order = kit.np.random.default_rng(3).permutation(kit.N)
    trio.store.evaluate(
        trio.student, kit.answers(9)[order], labels=kit.LABELS[order], rows=order, key="e0000000"
    )
    write(trio.runs, tmp_path / "report")
    each = next(e for e in read_data(tmp_path / "report").runs if e.run.id == trio.student.run.id)
    assert each.predictions["e0000000"].predictions.tolist() == kit.answers(9).tolist()


def alter(report_dir):
    file = next(report_dir.rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(bytes(content))
    return file


def remove(report_dir):
    file = next(report_dir.rglob("history.jsonl"))
    file.unlink()
    return file


def add(report_dir):
    file = report_dir / "data" / "sample" / "extra.json"
    file.write_text("{}")
    return file


def unlist(report_dir):
    (report_dir / "data" / "SHA256SUMS").unlink()
    return report_dir / "data" / "SHA256SUMS"


@pytest.mark.parametrize("damage", [alter, remove, add, unlist])
def test_damaged_data_are_refused_by_name(report_dir, damage):
    file = damage(report_dir)
    with pytest.raises(CompressError, match=file.name) as error:
        read_data(report_dir)
    assert "make the report again from its runs" in error.value.fix


def test_of_many_damaged_files_three_are_named(report_dir):
    """Guards a line of 3,000 characters that nobody reads to its end."""
    data = report_dir / "data"
    damaged = [path for path in data.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    for path in damaged:
        path.write_bytes(b"other")
    with pytest.raises(CompressError) as error:
        read_data(report_dir)
    assert error.value.problem.count("differs from its checksum") == 3
    assert error.value.problem.endswith(f"; and {len(damaged) - 3} more.")
    assert error.value.fix == "Restore it (git checkout), or make the report again from its runs."


def test_files_without_a_checksum_are_to_be_moved_away(report_dir):
    """Guards the advice to restore what never was there."""
    add(report_dir)
    with pytest.raises(CompressError) as error:
        read_data(report_dir)
    assert error.value.fix == (
        "Move the files without a checksum away, or make the report again from its runs."
    )
    alter(report_dir)
    with pytest.raises(CompressError) as error:
        read_data(report_dir)
    assert error.value.fix.startswith("Restore it (git checkout) and move the files without a checksum away,")
    assert "extra.json has no checksum" in error.value.problem


def test_evaluation_of_another_run_is_refused(trio, tmp_path):
    for suffix in ("json", "parquet"):
        shutil.copy(trio.teacher.path / f"evaluations/e0000000.{suffix}", trio.student.path / "evaluations")
    write(trio.runs, tmp_path / "report")
    with pytest.raises(CompressError, match="of other runs"):
        read_data(tmp_path / "report")


def test_missing_predictions_are_told_before_anything_is_written(trio, tmp_path):
    (trio.student.path / "evaluations" / "e0000000.parquet").unlink()
    with pytest.raises(CompressError, match=r"lacks .*e0000000\.parquet"):
        write(trio.runs, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("name", ["..", "a/b", "line\nbreak", "bidi\u202e", ""])
def test_names_that_are_no_directory_are_refused(trio, tmp_path, name):
    run = trio.student.run.model_copy(update={"name": name})
    with pytest.raises(CompressError, match="no name for a directory"):
        write([type(trio.student)(run, trio.student.path)], tmp_path / "report")


def test_no_runs_and_runs_named_twice_are_refused(trio, tmp_path):
    with pytest.raises(CompressError, match="needs runs"):
        write([], tmp_path / "report")
    with pytest.raises(CompressError, match="named twice"):
        write([trio.student, trio.student], tmp_path / "report")


def test_failing_copy_leaves_the_old_data_whole(trio, tmp_path, monkeypatch):
    write([trio.student], tmp_path / "report")
    before = {path: path.read_bytes() for path in (tmp_path / "report").rglob("*") if path.is_file()}
    copied, copyfile = [], shutil.copyfile

    def fail_on_third(source, target):
        copied.append(source)
        if len(copied) == 3:
            raise OSError(28, "No space left on device")
        return copyfile(source, target)

    monkeypatch.setattr("compress.reporting.data.shutil.copyfile", fail_on_third)
    with pytest.raises(CompressError, match="No space left"):
        write(trio.runs, tmp_path / "report")
    assert {path: path.read_bytes() for path in (tmp_path / "report").rglob("*") if path.is_file()} == before


def test_paths_of_this_machine_in_the_reports_command_are_shortened(trio, tmp_path):
    write(
        trio.runs,
        tmp_path / "report",
        command="compress report /home/alice/work/runs/sample --output-dir out",
    )
    assert read_data(tmp_path / "report").manifest.command == "compress report …/runs/sample --output-dir out"


def test_newer_schema_is_refused_with_the_way_out(report_dir):
    import hashlib

    data = report_dir / "data"
    text = (data / "report.json").read_text().replace('"schema_version": 1', '"schema_version": 99')
    old = hashlib.sha256((data / "report.json").read_bytes()).hexdigest()
    (data / "report.json").write_text(text)
    sums = (data / "SHA256SUMS").read_text().replace(old, hashlib.sha256(text.encode()).hexdigest())
    (data / "SHA256SUMS").write_text(sums)
    with pytest.raises(CompressError, match="schema version 99") as error:
        read_data(report_dir)
    assert "pip install --upgrade" in error.value.fix
