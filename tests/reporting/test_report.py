import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from compress.errors import CompressError
from compress.reporting import check_report, check_reports, render_again, write_report
from compress.runs import find_runs, read_run


def snapshot(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_report_is_sound_when_written(written):
    assert check_report(written.path) == []
    assert check_report(written.path, written.trio.runs) == []
    assert {path.name for path in written.path.iterdir()} == {"data", "index.html", "README.md"}


def test_a_report_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CompressError, match="typo is no directory"):
        check_report(tmp_path / "typo")


def test_writing_twice_gives_the_same_bytes(written, tmp_path):
    runs = list(reversed(written.trio.runs))
    write_report(runs, tmp_path / "again", title="A title", command="compress report runs/sample")
    assert snapshot(tmp_path / "again") == snapshot(written.path)


def test_one_altered_byte_of_any_file_is_found(report_dir):
    """In each file of the report in turn, at its beginning, in its middle and at its end."""
    files = [path for path in sorted(report_dir.rglob("*")) if path.is_file()]
    assert {
        "index.html",
        "README.md",
        "SHA256SUMS",
        "models.csv",
        "scores.csv",
        "timings.csv",
        "run.json",
    } <= {p.name for p in files}
    for file in files:
        content = file.read_bytes()
        for place in (
            (0, len(content) // 2, len(content) - 1) if file.parent.name != "report" else (len(content) // 2,)
        ):
            altered = bytearray(content)
            altered[place] ^= 1
            file.write_bytes(bytes(altered))
            named = file.name if file.name != "SHA256SUMS" else "data/"
            assert any(named in problem for problem in check_report(report_dir)), (file, place)
        file.write_bytes(content)
    assert check_report(report_dir) == []


def test_a_missing_page_is_found(report_dir):
    (report_dir / "README.md").unlink()
    assert check_report(report_dir) == ["README.md is missing"]


@pytest.mark.parametrize("name", ["evil.html", ".hidden", "évil"])
def test_what_was_laid_beside_the_pages_is_found(report_dir, name):
    """Guards a page that nobody made from the data, vouched for with the report that it lies in."""
    (report_dir / name).write_text("trust me")
    assert check_report(report_dir) == [f"{name} is no part of the report"]
    (report_dir / "data" / "SHA256SUMS").unlink()
    assert f"{name} is no part of the report" in check_report(report_dir)
    folder = report_dir.parent
    assert f"report: {name} is no part of the report" in check_reports(folder)


def test_a_folder_beside_the_pages_is_found(report_dir):
    (report_dir / "more").mkdir()
    assert check_report(report_dir) == ["more is no part of the report"]


def forge(report_dir, name, change):
    """Change a data file and make its checksum fit."""
    data = report_dir / "data"
    file = next(data.rglob(name))
    old = hashlib.sha256(file.read_bytes()).hexdigest()
    change(file)
    sums = (data / "SHA256SUMS").read_text().replace(old, hashlib.sha256(file.read_bytes()).hexdigest())
    (data / "SHA256SUMS").write_text(sums)


def test_a_page_that_does_not_follow_from_forged_data_is_found(report_dir):
    forge(
        report_dir,
        "report.json",
        lambda file: file.write_text(file.read_text().replace("A title", "B title")),
    )
    assert check_report(report_dir) == [
        f"{page} does not follow from the data" for page in ("index.html", "README.md")
    ]


def test_a_sheet_that_does_not_follow_from_the_data_is_found(report_dir):
    forge(report_dir, "scores.csv", lambda file: file.write_text(file.read_text().replace("0.825", "0.835")))
    assert check_report(report_dir) == ["data/scores.csv does not follow from the data"]


def test_an_older_report_is_rendered_again_from_its_data(written, report_dir):
    (report_dir / "index.html").write_text("as it was")
    sheets = [report_dir / "data" / name for name in ("models.csv", "scores.csv", "timings.csv")]
    for sheet in sheets:
        sheet.unlink()
    sums = report_dir / "data" / "SHA256SUMS"
    kept = [line for line in sums.read_text().splitlines(keepends=True) if ".csv" not in line]
    sums.write_text("".join(kept))
    assert "data/scores.csv is missing" in check_report(report_dir)
    render_again(report_dir)
    assert snapshot(report_dir) == snapshot(written.path)


def test_a_directory_of_reports_is_rendered_and_checked_as_one(written, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(written.path, tmp_path / "reports" / name)
    reports = tmp_path / "reports"
    assert check_reports(reports) == ["README.md does not follow from the reports"]
    render_again(reports)
    index = (reports / "README.md").read_text()
    assert all(f"]({name}/README.md)" in index for name in ("one", "two"))
    assert written.report.sections[0].headline.sentence.split(" is ")[0] in index
    assert check_reports(reports) == []
    page = reports / "two" / "index.html"
    page.write_text(page.read_text().replace("smaller", "better"))
    assert check_reports(reports) == ["two: index.html does not follow from the data"]
    render_again(reports)
    assert check_reports(reports) == []
    with pytest.raises(CompressError, match="is no report, and holds none"):
        render_again(tmp_path / "elsewhere")


def test_another_s_readme_is_not_overwritten_by_an_index(written, tmp_path):
    """Guards a project's own README.md beside a report; it is refused before a page is replaced."""
    report = shutil.copytree(written.path, tmp_path / "project" / "a report")
    readme = report.parent / "README.md"
    readme.write_text("# My project\n")
    (report / "index.html").write_text("as it was")
    with pytest.raises(CompressError, match="is no index of reports, and would be overwritten by one"):
        render_again(report.parent)
    assert (readme.read_text(), (report / "index.html").read_text()) == ("# My project\n", "as it was")
    readme.unlink()
    render_again(report.parent)
    assert "(a%20report/README.md)" in readme.read_text()
    readme.write_text(readme.read_text().replace("A title", "Its older title"))
    render_again(report.parent)
    assert "A title" in readme.read_text()
    assert {path.name for path in report.parent.iterdir()} == {"README.md", "a report"}


def test_an_index_links_what_else_is_to_be_read(written, tmp_path):
    """Guards hand-made overviews that nobody finds; a heading is text, and what is in it no markup."""
    reports = tmp_path / "reports"
    shutil.copytree(written.path, reports / "one")
    render_again(reports)
    assert "Also here" not in (reports / "README.md").read_text()
    (reports / "some notes.md").write_text("Before it\n\n## <b>Half of [it](evil) ##\n\n# Later\n")
    (reports / "plain.md").write_text("No heading: #nothing\n")
    assert check_reports(reports) == ["README.md does not follow from the reports"]
    render_again(reports)
    index = (reports / "README.md").read_text()
    links = index.partition("## Also here\n\n")[2].splitlines()[:2]
    assert links == [
        "- [plain.md](plain.md)",
        "- [\\<b\\>Half of \\[it\\](evil)](some%20notes.md)",
    ]
    assert check_reports(reports) == []
    (reports / "plain.md").write_text("# Another\n")
    assert check_reports(reports) == ["README.md does not follow from the reports"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", "{"),
        ("report.json", "{}"),
        ("distill-*/run.json", "{}"),
        ("distill-*/history.jsonl", "?\n"),
        ("distill-*/evaluations/e0000000.json", "[]"),
        ("distill-*/evaluations/e0000000.parquet", ""),
    ],
)
def test_a_report_s_data_that_cannot_be_read_are_to_be_restored(report_dir, name, content):
    """Guards the advice to delete a directory and to run the command again, which is for runs."""
    forge(report_dir, name, lambda file: file.write_text(content))
    for attempt in (check_report, render_again):
        with pytest.raises(CompressError, match=name.rpartition("/")[2]) as error:
            attempt(report_dir)
        assert error.value.fix == "Restore it (git checkout), or make the report again from its runs."


def rewrite_answers(change):
    """Change an evaluation's table of predictions, a dictionary of columns."""

    def apply(file):
        columns = parquet.read_table(file).to_pydict()
        change(columns)
        parquet.write_table(pyarrow.table(columns), file)

    return apply


def test_predictions_that_their_logits_do_not_give_are_found(report_dir):
    def answer_rightly(columns):
        columns["prediction"] = columns["label"]

    forge(report_dir, "distill-*/evaluations/e0000000.parquet", rewrite_answers(answer_rightly))
    problems = " ".join(check_report(report_dir))
    assert "predictions on validation do not follow from their logits" in problems
    assert "its predictions give 1.000000" in problems


def test_agreement_and_calibration_are_recomputed_from_the_logits(report_dir):
    """Guards numbers that no check sees: the score is right, and how sure the model was is not."""

    def be_surer(columns):
        columns["logits"] = [[4 * logit for logit in row] for row in columns["logits"]]

    forge(report_dir, "distill-*/evaluations/e0000000.parquet", rewrite_answers(be_surer))
    derived = ("index.html", "README.md", "data/scores.csv")
    assert check_report(report_dir) == [f"{name} does not follow from the data" for name in derived]


@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_a_score_that_its_predictions_do_not_give_is_found(report_dir, field):
    """An interval, too, follows from the predictions: its resamples are drawn from a fixed seed."""

    def raise_score(file):
        record = json.loads(file.read_text())
        record["scores"][0][field] = 0.99
        file.write_text(json.dumps(record))

    assert not any("recorded as" in problem for problem in check_report(report_dir))
    forge(report_dir, "distill-*/evaluations/e0000000.json", raise_score)
    (problem,) = (problem for problem in check_report(report_dir) if "recorded as" in problem)
    before = snapshot(report_dir)
    with pytest.raises(CompressError) as error:  # nor is a page made of it
        render_again(report_dir)
    assert problem in error.value.problem
    assert snapshot(report_dir) == before
    assert "its predictions give 0.825000 (0.7" in problem
    assert "0.990000" in problem.partition("its predictions")[0]


def test_runs_that_changed_since_are_found(trio, kit, tmp_path):
    write_report(trio.runs, tmp_path / "report", command="c")
    trio.store.measure([(trio.student, kit.steady(4.0)), (trio.teacher, kit.steady(9.0))], session="later")
    (trio.student.path / "history.jsonl").write_text('{"step": 1, "loss": 1}\n')
    problems = check_report(tmp_path / "report", trio.runs[1:])
    folder = f"sample/albert-tiny/distill-{trio.student.run.key}"
    assert f"data/{folder}/history.jsonl differs from the run's file" in problems
    assert any(
        "finetune" in problem and "is in the report but not in the runs" in problem for problem in problems
    )
    assert (
        f"{folder}/measurements/later.json is in the runs but not in the report" not in problems
    )  # a stranger's now
    problems = check_report(tmp_path / "report", trio.runs)
    assert f"{folder}/measurements/later.json is in the runs but not in the report" in problems


@pytest.mark.parametrize("page", ["html", "markdown"])
def test_a_failing_render_leaves_the_old_report_whole(written, report_dir, monkeypatch, page):
    before = snapshot(report_dir)

    def fail(report):
        raise RuntimeError("no page today")

    monkeypatch.setattr(f"compress.reporting.{page}.render_{page}", fail)
    with pytest.raises(RuntimeError):
        write_report(written.trio.runs[:2], report_dir, command="c")
    assert snapshot(report_dir) == before
    assert [path.name for path in report_dir.parent.iterdir()] == ["report"]


def test_a_failing_swap_leaves_the_old_report_whole(written, report_dir, monkeypatch):
    before, rename = snapshot(report_dir), Path.rename

    def fail_on_staged(self, target):
        if Path(target).name == "report" and "superseded" not in self.name:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_on_staged)
    with pytest.raises(CompressError, match="Input/output error"):
        write_report(written.trio.runs[:2], report_dir, command="c")
    assert snapshot(report_dir) == before
    assert [path.name for path in report_dir.parent.iterdir()] == ["report"]


def test_an_older_report_is_replaced_entirely(trio, report_dir):
    report = write_report(trio.runs[:1], report_dir, command="c")
    assert report.title == "1 run compared on sample"
    assert check_report(report_dir) == []
    assert [stored.run.id for stored in find_runs(report_dir / "data")] == [trio.teacher.run.id]


@pytest.mark.parametrize("strange", ["notes.txt", "data"])
def test_a_directory_that_is_no_report_is_left_alone(trio, tmp_path, strange):
    target = tmp_path / "mine"
    (target / strange).mkdir(parents=True)
    with pytest.raises(CompressError, match="holds what is no report"):
        write_report(trio.runs, target, command="c")
    assert [path.name for path in target.iterdir()] == [strange]


def test_a_report_inside_another_one_is_refused(written, report_dir):
    """Guards the outer report, which then holds what is no part of it."""
    for inner in (report_dir / "data" / "new", report_dir / "new", report_dir / "data"):
        with pytest.raises(CompressError, match="lies inside the report") as error:
            write_report(written.trio.runs, inner, command="c")
        assert str(report_dir.parent / inner.name) in error.value.fix
    assert check_report(report_dir) == []


def test_a_report_inside_the_runs_store_is_refused(trio, tmp_path, monkeypatch):
    """Guards runs that are reports' or others' data; who works in a store still has a place for a report."""
    before = snapshot(trio.store.root)
    for inner in ("page", "sample/page", f"{trio.student.run.id}/page"):
        with pytest.raises(CompressError, match="where the runs are"):
            write_report(trio.runs, trio.store.root / inner, command="c")
    copied = shutil.copytree(trio.student.path, tmp_path / "copied")
    with pytest.raises(CompressError, match="where the runs are"):
        write_report([read_run(copied)], copied / "page", command="c")
    assert snapshot(trio.store.root) == before
    monkeypatch.chdir(trio.store.root)
    with pytest.raises(CompressError, match="sample/page lies inside sample, where the runs are"):
        write_report(trio.runs, Path("sample/page"), command="c")
    write_report(trio.runs, Path("page"), command="c")
    assert check_report(Path("page")) == []


def test_an_empty_directory_is_taken(trio, tmp_path):
    (tmp_path / "empty").mkdir()
    write_report(trio.runs, tmp_path / "empty", command="c")
    assert check_report(tmp_path / "empty") == []


def test_a_report_can_be_moved(written, tmp_path):
    moved = shutil.copytree(written.path, tmp_path / "elsewhere" / "name")
    assert check_report(moved) == []


def test_no_heavy_library_is_imported_before_it_is_needed():
    code = "import sys, compress.reporting, compress.reporting.terminal; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {
        "torch",
        "transformers",
        "datasets",
        "sklearn",
        "scipy",
        "pyarrow",
        "jinja2",
        "rich",
        "numpy",
    } & set(found)
