import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from compress.reporting import write_report
from compress.reporting.data import read_data
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from compress.reporting.pairwise import compare_in_report, compare_stored
from compress.reporting.terminal import render_pairwise, render_table
from compress.runs import Parent, read_run

HOSTILE = "<script>alert(1)</script>\"'&\u202e|`*_[x](http://evil)"


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.texts = []
        self.rows = []
        self.within_row = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")
            self.within_row = True

    def handle_endtag(self, tag):
        if tag == "tr":
            self.within_row = False

    def handle_data(self, data):
        self.texts.append(data)
        if self.within_row:
            self.rows[-1] = " ".join(f"{self.rows[-1]} {data}".split())

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def values(self, *names):
        return [attrs[name] for _, attrs in self.elements for name in names if name in attrs]


@pytest.fixture(scope="module")
def page(written):
    return Page((written.path / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def hostile(kit, store, tmp_path):
    """A report whose every free text is an attack."""
    task = kit.TASK.model_copy(update={"labels": (HOSTILE, "b"), "text": (HOSTILE,)})
    parent = Parent(role=HOSTILE, name=HOSTILE, origin=HOSTILE, key="k")
    changes = {
        "command": HOSTILE,
        "facts": {HOSTILE: HOSTILE},
        "environment": kit.environment(cpu=HOSTILE, gpu=HOSTILE, commit=HOSTILE, versions={HOSTILE: HOSTILE}),
        "history": [
            {"step": 1, "loss": 1.0, f"eval_{HOSTILE}": 1.0},
            {"step": 2, "loss": 0.5, f"eval_{HOSTILE}": 2},
        ],
    }
    names = [HOSTILE.replace("/", "").replace("\u202e", "") + letter for letter in "ab"]
    runs = [
        store.add(name, kit.FINETUNE, size=10 * n, parameters=n, parents=[parent], task=task, **dict(changes))
        for n, name in enumerate(names, start=1)
    ]
    for stored in runs:
        store.evaluate(stored, kit.answers(50), split=HOSTILE, engine=HOSTILE)
    store.measure([(stored, [[1.0]]) for stored in runs], where=changes["environment"], device=HOSTILE)
    report = write_report(runs, tmp_path / "report", title=HOSTILE, command=HOSTILE)
    return report, tmp_path / "report"


def test_the_readme_tells_every_score_and_timing_of_the_page(store, kit, tmp_path):
    """Guards readers of the one against less than readers of the other see."""
    task = kit.TASK.model_copy(update={"metrics": ("accuracy", "f1")})
    runs = [store.add(name, kit.FINETUNE, size=9, parameters=9, task=task) for name in ("big", "small")]
    for stored, wrong in zip(runs, (10, 20), strict=True):
        store.evaluate(stored, kit.answers(wrong))
    for batch in (1, 32):
        store.measure([(stored, kit.steady(10)) for stored in runs], session=f"s{batch}", batch=batch)
    report = write_report(runs, tmp_path / "report", command="c")
    page, text = Page(render_html(report)), render_markdown(report)
    for title, models, columns in (("All scores", 4, 6), ("All timings", 4, 8)):
        lines = text.partition(f"### {title}\n")[2].partition("\n### ")[0].splitlines()
        cells = [line.strip("| ").split(" | ") for line in lines if line.startswith(("| big", "| small"))]
        assert [len(row) for row in cells] == [columns] * models
        assert {" ".join(row) for row in cells} <= set(page.rows), title
    assert "batch 32, 128 tokens, 1 thread, cpu; " in text


def test_a_speed_up_is_told_with_both_engines(written):
    """Guards a runtime's speed that is taken for the model's."""
    page, text = render_html(written.report), render_markdown(written.report)
    printed = io.StringIO()
    Console(file=printed, width=100, color_system=None).print(render_table(written.report))
    for told in (page, text):
        assert "; minilm-l6 in PyTorch, albert-tiny · int8 in ONNX Runtime." in told
        assert "Timed in PyTorch, but albert-tiny · int8 in ONNX Runtime." in told
    assert "12.2 ms in PyTorch → 1.53 ms in ONNX Runtime, batch 1" in page
    assert "but albert-tiny · int8 in ONNX Runtime" in " ".join(printed.getvalue().split())
    assert "| albert-tiny · int8 | ONNX Runtime |" in text
    same = written.trio.student.run.id, written.trio.teacher.run.id
    (pair,) = compare_in_report(read_data(written.path), *same).tasks
    (other,) = compare_in_report(read_data(written.path), written.trio.int8.run.id, same[1]).tasks
    assert pair.speeds[0].engines == ("pytorch", "pytorch")
    assert other.speeds[0].engines == ("onnxruntime", "pytorch")


def test_a_slowdown_and_its_range_are_told_in_one_sense(kit, store, tmp_path):
    """Guards a value of times slower beside a range of times faster, which does not even hold it."""
    trio = kit.build_trio(store, measure=False)
    for name, slow in (("a", 15.0), ("b", 16.0), ("c", 20.0)):
        store.measure([(trio.teacher, kit.steady(12.0)), (trio.int8, kit.steady(slow))], session=name)
    report = write_report(trio.runs, tmp_path / "report", command="c")
    printed = io.StringIO()
    Console(file=printed, width=100, color_system=None).print(render_table(report))
    pages = [render_html(report), render_markdown(report)]
    assert all("1.33× slower (1.25–1.67)" in text for text in pages)
    assert all("range over sessions 1.25–1.67× slower." in text for text in pages)
    assert "(1.25–1.67)" in printed.getvalue()
    compared = io.StringIO()
    pair = compare_stored(*(read_run(stored.path) for stored in (trio.int8, trio.teacher)))
    Console(file=compared, width=300, color_system=None).print(render_pairwise(pair))
    assert "range over sessions 1.25–1.67×" in compared.getvalue()


class TestHtml:
    def test_the_table_prints_the_numbers_computed_by_hand(self, page):
        assert "90.0 MB" in page.text
        # 90 MB / 18 MB; 12 ms / 4 ms; (400 − 70) / 400 right; 330 / 360 of the baseline's right answers.
        row = next(row for row in page.rows if row.startswith("albert-tiny distilled"))
        for number in ("18.0 MB", "5.00× smaller", "4.50 M", "3.00× faster", "0.825", "n = 400", "91.7 %"):
            assert number in row, (number, row)

    def test_the_answer_comes_first(self, page):
        before = page.text.partition("Comparison")[0]
        assert "18.0× smaller and 8.00× faster than minilm-l6 and keeps 90.0 % of its accuracy." in before
        assert "Can it be trusted?" in before

    def test_intervals_on_the_page_are_the_reports(self, page, written):
        row = written.report.sections[0].rows[1]
        kept, score = row.primary.retention, row.primary.score
        assert f"({100 * kept.low:.1f}–{100 * kept.high:.1f})" in page.text
        assert f"({score.low:.3f}–{score.high:.3f})" in page.text

    def test_what_was_done_is_told(self, page):
        for text in (
            "temperature 2",
            "0.0003, linear",
            "62 s",
            "torch 2.11.0",
            "0123456789ab",
            "Gold 6330",
            "2 PyTorch threads",
        ):
            assert text in page.text
        assert "compress distill albert-tiny --task sample" in page.text
        assert "compress report runs/sample" in page.text

    def test_nothing_is_fetched_and_only_its_own_script_runs(self, page, written):
        text = (written.path / "index.html").read_text(encoding="utf-8")
        assert "http:" not in text
        assert "https:" not in text
        assert all(value.startswith("#") for value in page.values("href", "src", "action", "data", "poster"))
        assert not {"link", "iframe", "object", "img"} & {tag for tag, _ in page.elements}
        assert "url(" not in text
        assert "@import" not in text
        assert "default-src 'none'" in text
        (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in text
        assert not page.values("onclick", "onload", "onerror")

    def test_differences_from_the_baseline_are_told(self, page):
        row = next(row for row in page.rows if row.startswith("albert-tiny distilled"))
        assert "20.0 % of the baseline’s" in row  # 18 MB of 90 MB
        assert "−7.5 points" in row  # 0.825 − 0.900

    def test_it_is_light(self, written):
        assert (written.path / "index.html").stat().st_size < 60_000

    def test_every_reference_has_its_target(self, page):
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        wanted = [value[1:] for value in page.values("href")] + page.values("aria-labelledby")
        assert set(wanted) <= set(ids)

    def test_pictures_and_tables_speak(self, page):
        pictures = [attrs for tag, attrs in page.elements if tag == "svg"]
        assert len(pictures) == 4  # bytes, latency, two loss curves
        assert all(attrs["role"] == "img" and "aria-labelledby" in attrs for attrs in pictures)
        tags = [tag for tag, _ in page.elements]
        assert tags.count("caption") == tags.count("table") > 0
        assert all("scope" in attrs for tag, attrs in page.elements if tag == "th")
        assert ("html", {"lang": "en"}) in page.elements

    def test_hostile_texts_stay_texts(self, hostile, page):
        found = Page((hostile[1] / "index.html").read_text(encoding="utf-8"))
        assert {tag for tag, _ in found.elements} <= {tag for tag, _ in page.elements} | {"nav"}
        assert "\u202e" not in found.text
        assert "\\u202e" in found.text
        names = {name for _, attrs in found.elements for name in attrs}
        assert names <= {name for _, attrs in page.elements for name in attrs}
        assert all(value.startswith("#") for value in found.values("href"))

    def test_machine_paths_are_shortened(self, kit, store, tmp_path):
        command = "compress finetune /home/alice/models/bert --task x"
        parent = Parent(role="model", name="bert", origin="directory /home/alice/models/bert", key="k")
        run = store.add("m", kit.FINETUNE, size=1, parameters=1, command=command, parents=[parent])
        write_report([run], tmp_path / "report", command="compress report /home/alice/runs/all")
        for name in ("index.html", "README.md"):
            text = (tmp_path / "report" / name).read_text(encoding="utf-8")
            assert "alice/" not in text
            assert "…/models/bert" in text

    def test_a_missing_session_leaves_the_speed_open(self, kit, store, tmp_path):
        trio = kit.build_trio(store, measure=False)
        store.measure([(trio.teacher, kit.steady(12.0))], session="a")
        store.measure([(trio.student, kit.steady(4.0))], session="b")
        write_report(trio.runs, tmp_path / "report", command="c")
        text = Page((tmp_path / "report" / "index.html").read_text(encoding="utf-8")).text
        assert "speed not compared" in text
        assert "× faster than" not in text
        assert "Never measured in one session" in text
        assert "3.00×" not in text


class TestMarkdown:
    def test_the_table_prints_the_numbers_computed_by_hand(self, written):
        lines = (written.path / "README.md").read_text(encoding="utf-8").splitlines()
        row = next(line for line in lines if line.startswith("| albert-tiny | "))
        for number in ("18.0 MB", "5.00× smaller", "4.50 M", "3.00× faster", "0.825", "400", "91.7 %"):
            assert number in row
        header = next(line for line in lines if line.startswith("| Model"))
        assert row.count(" | ") == header.count(" | ")

    def test_hostile_texts_stay_texts(self, hostile):
        text = (hostile[1] / "README.md").read_text(encoding="utf-8")
        prose = re.sub(r"(?ms)^(`{3,})bash$.*?^\1$", "", text)
        assert not re.search(r"(?<!\\)<script", prose)
        assert not re.search(r"(?<!\\)\[x", prose)
        assert "\u202e" not in text
        for table in re.findall(r"(?m)(?:^\|.*\n)+", prose):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1

    def test_a_code_block_holds_any_backticks(self, hostile):
        report = hostile[0].model_copy(update={"command": "echo ```` done"})
        assert "\n`````bash\n" in render_markdown(report)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_the_same_report_gives_the_same_bytes(written, render):
    again = type(written.report).model_validate_json(written.report.model_dump_json())
    assert render(again) == render(written.report)


def test_every_region_has_a_label_of_its_own_and_the_overview_its_place(kit, store, tmp_path):
    """Guards landmarks that cannot be told apart, and a table that no link leads to."""
    runs = []
    for name in ("cola", "sst2"):
        task = kit.TASK.model_copy(update={"name": name})
        stored = store.add("bert", kit.FINETUNE, size=9, parameters=9, task=task)
        store.evaluate(stored, kit.answers(40))
        int8 = store.add(
            "bert", kit.QUANTIZE, size=3, parameters=9, task=task, parents=[kit.child_of(stored, "model")]
        )
        store.evaluate(int8, kit.answers(50))
        store.measure([(stored, kit.steady(4.0)), (int8, kit.steady(2.0))])
        runs += [stored, int8]
    report = write_report([read_run(stored.path) for stored in runs], tmp_path / "report", command="c")
    page = Page(render_html(report))
    regions = [attrs for _, attrs in page.elements if attrs.get("role") == "region"]
    labels = [attrs["aria-label"] for attrs in regions]
    assert len(set(labels)) == len(labels)
    assert {"CoLA: comparison", "SST-2: comparison", "SST-2: timings 1", "Mean over the tasks"} <= {*labels}
    assert all(attrs["tabindex"] == "0" for attrs in regions)  # without a script, all can be scrolled
    assert page.values("href").count("#overview") == 1
    tables = [attrs.get("class") for tag, attrs in page.elements if tag == "table"]
    assert tables == ["wide"] * len(tables)
