"""The page in a real browser, as it is: its own script and no other runs, and nothing is fetched."""

import contextlib
import importlib.util
from pathlib import Path

import pytest

from compress.reporting import wording
from compress.reporting.html import render_html

SPEC = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
chromium = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(chromium)

pytestmark = pytest.mark.skipif(
    chromium.CHROMIUM is None, reason="no chromium here (apt-get install chromium)"
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'\u202e\u2066</style></title>"
TABLE = "document.querySelector('table.wide')"
ORDER = f"Array.from({TABLE}.tBodies[0].rows, row => row.cells[0].querySelector('bdi').textContent)"
REPORTS = Path(__file__).parents[2] / "reports"
SORTS = f"Array.from({TABLE}.tHead.rows[0].cells, head => head.getAttribute('aria-sort'))"
SCORE, SIZE, PARAMETERS = 1, 3, 5
"""Places of columns."""


MOST_PAGES = 40
"""On paper, of the committed page with the most tasks: 31 with the fonts of one machine, others set wider."""
PAPER = 717
"""CSS pixels: 210 mm, less 0.4 inches on either side."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def hostile(written, tmp_path):
    """A report whose task, title, models and labels are attacks."""
    (section,) = written.report.sections
    rows = tuple(
        row.model_copy(update={"short": f"{HOSTILE} {place}", "label": HOSTILE, "made": HOSTILE})
        for place, row in enumerate(section.rows)
    )
    section = section.model_copy(update={"task": HOSTILE, "rows": rows, "metric": HOSTILE})
    report = written.report.model_copy(update={"title": HOSTILE, "command": HOSTILE, "sections": (section,)})
    path = tmp_path / "index.html"
    path.write_text(render_html(report), encoding="utf-8")
    return path


@contextlib.contextmanager
def emulated(browser, media, scheme):
    """What a page is shown on, and which colours its reader's system prefers."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media=media, features=features)
    try:
        yield
    finally:
        browser.call("Emulation.setEmulatedMedia", media="", features=[])


def click(browser, title):
    browser.run(
        f"Array.from({TABLE}.querySelectorAll('thead button')).find(b => b.textContent === {title!r}).click()"
    )


def test_the_table_sorts_both_ways_and_keeps_what_is_missing_last(browser, written):
    browser.open(written.path / "index.html")
    before = browser.run(ORDER)
    click(browser, "Size")
    assert browser.run(ORDER) == before[::-1]
    assert browser.run(SORTS) == [*[None] * SIZE, "ascending", None, None]
    click(browser, "Size")
    assert browser.run(ORDER) == before
    click(browser, "Accuracy")
    assert browser.run(SORTS) == [*[None] * SCORE, "descending", *[None] * 4]
    browser.run(f"{TABLE}.tBodies[0].rows[0].cells[{SIZE}].removeAttribute('data-sort')")
    for _ in range(2):
        click(browser, "Size")
        assert browser.run(ORDER)[-1] == before[0]


def test_the_table_sorts_by_keyboard_and_equal_rows_keep_their_order(browser, written):
    browser.open(written.path / "index.html")
    before = browser.run(ORDER)
    browser.run(f"{TABLE}.tHead.rows[0].cells[{PARAMETERS}].querySelector('button').focus()")
    browser.press("Enter", 13)
    assert browser.run(ORDER) == [*before[1:], before[0]]  # the two of 4.5 M in their order
    assert browser.run(SORTS)[PARAMETERS] == "ascending"


def test_the_theme_goes_round_and_is_remembered(browser, written):
    browser.open(written.path / "index.html")
    seen = []
    for _ in range(3):
        seen.append(browser.run("document.getElementById('theme').textContent"))
        seen.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        browser.run("document.getElementById('theme').click()")
    assert seen[::2] == ["Theme: system", "Theme: light", "Theme: dark"]
    assert seen[3] == "rgb(253, 253, 252)"
    assert seen[5] == "rgb(21, 23, 26)"
    browser.run("document.getElementById('theme').click()")
    browser.open(written.path / "index.html")
    assert browser.run("document.getElementById('theme').textContent") == "Theme: light"
    browser.run("localStorage.clear()")


def test_a_system_s_preference_for_dark_is_followed_and_paper_stays_white(browser, written):
    found = {}
    for scheme in ("light", "dark"):
        for media in ("screen", "print"):
            with emulated(browser, media, scheme):
                browser.open(written.path / "index.html")
                found[scheme, media] = (
                    browser.run("getComputedStyle(document.body).backgroundColor"),
                    browser.run("getComputedStyle(document.getElementById('theme')).display"),
                )
    assert found["light", "screen"][0] != found["dark", "screen"][0]
    assert found["light", "screen"][1] != "none"
    assert found["light", "print"] == found["dark", "print"] == ("rgb(255, 255, 255)", "none")


def test_every_committed_page_fits_on_paper(browser):
    """Guards numbers that a printer would cut off: nothing is wider than A4 between Chromium's margins."""
    pages = sorted(REPORTS.glob("*/index.html"))
    with emulated(browser, "print", "light"):
        for path in pages:
            browser.open(path, width=PAPER)
            assert browser.run("document.documentElement.scrollWidth") <= PAPER, path.parent.name
    assert len(pages) > 5


def test_a_committed_page_on_paper_begins_with_its_answer_and_is_short(browser):
    """Guards a first sheet that is blank but for the title, and a hundred sheets that nobody asked for."""
    for name in ("distillation", "glue-minilm"):
        browser.open(REPORTS / name / "index.html")
        sentence = browser.run(
            "document.querySelector('section[aria-labelledby=overview] .sentence').textContent"
        )
        pages = browser.print()
        assert "".join(sentence.split()) in pages[0]
        assert len(pages) <= MOST_PAGES
        assert "Notonpaper:whatwasdone" in "".join(pages)
        assert "Whatwasdone" not in "".join(pages)


def test_a_table_over_two_sheets_has_its_header_on_both(browser, written):
    """Guards columns of numbers without names: a header with a button in it is left out where it is repeated."""
    browser.open(written.path / "index.html")
    browser.run(
        f"{TABLE}.tBodies[0].append(...Array.from({{length: 40}}, () => {TABLE}.tBodies[0].rows[1].cloneNode(true)))"
    )
    with_table = [page for page in browser.print() if page.count("5.00×smaller") > 1]
    assert len(with_table) > 1
    assert all("AccuracySharekept" in page for page in with_table)


def test_nothing_is_fetched_and_the_console_is_silent(browser, written):
    path = written.path / "index.html"
    browser.open(path)
    click(browser, "Size")
    urls = [each["request"]["url"] for each in browser.said("Network.requestWillBeSent")]
    assert urls == [path.as_uri()]
    assert not browser.said("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


def test_hostile_texts_stay_texts(browser, hostile):
    browser.open(hostile)
    assert not browser.said("Page.javascriptDialogOpening", "Log.entryAdded", "Runtime.exceptionThrown")
    assert browser.run("document.scripts.length") == 1
    assert browser.run("document.images.length") == 0
    shown = browser.run("document.querySelector('h1').textContent")
    assert shown == wording.show(HOSTILE)
    assert shown.startswith("<script>alert(1)<")
    assert "\\u202e" in shown


def test_an_injected_script_does_not_run(browser, written, tmp_path):
    """Guards the policy: were a text not escaped one day, it would still do nothing."""
    page = (written.path / "index.html").read_text(encoding="utf-8")
    path = tmp_path / "index.html"
    path.write_text(page.replace("</main>", "<script>window.broken = 1</script></main>"), encoding="utf-8")
    browser.open(path)
    assert browser.run("typeof window.broken") == "undefined"
    assert "Content Security Policy" in browser.said("Log.entryAdded")[0]["entry"]["text"]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways(browser, written, hostile, width):
    for path in (written.path / "index.html", hostile):
        browser.open(path, width=width)
        wide = "Array.from(document.querySelectorAll('body *')).filter(e => !e.closest('.scroll, pre') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
        assert browser.run("document.documentElement.scrollWidth") <= width, (path, browser.run(wide))


def test_a_phone_shows_score_and_share_beside_each_model(browser, written):
    """Guards a table of which a phone shows names alone: what a score is of must not be scrolled for."""
    browser.open(written.path / "index.html", width=390)
    titles = browser.run(f"Array.from({TABLE}.tHead.rows[0].cells, head => head.textContent)")
    assert titles[:3] == ["Model", "Accuracy", "Share kept"]
    ends = browser.run(
        f"[{TABLE}.tHead.rows[0].cells[2], {TABLE}.parentElement].map(each => each.getBoundingClientRect().right)"
    )
    assert ends[0] <= ends[1]
    assert browser.run(f"{TABLE}.querySelector('tbody th > span').offsetHeight") == 0


REGIONS = "Array.from(document.querySelectorAll('.scroll, pre'))"


def test_only_what_scrolls_is_a_stop_of_the_keyboard(browser, written):
    """Guards a landmark and a stop for every table, most of which are all in sight; a narrower window brings them back."""
    stops = f"{REGIONS}.map(e => [e.scrollWidth > e.clientWidth, e.getAttribute('tabindex') === '0', e.getAttribute('role') === 'region', (e.getAttribute('aria-label') || '').endsWith(', scrolls sideways')])"
    browser.open(written.path / "index.html")
    *tables, commands = browser.run(stops)
    assert not any(map(any, tables))
    assert all(commands)  # some are longer than any window
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=390, height=900, deviceScaleFactor=1, mobile=False
    )
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    narrow = browser.run(stops)
    assert [all(each) for each in narrow] == [any(each) for each in narrow]
    assert sum(map(all, narrow)) > 1
    browser.open(written.path / "index.html", width=390)
    assert browser.run(stops) == narrow


def test_the_overview_of_glue_fits_a_laptop(browser):
    """Guards columns that a reader has to find: the committed page's widest table is all in sight at 1280 pixels."""
    browser.open(REPORTS / "glue-minilm" / "index.html", width=1280)
    region = "document.querySelector('section[aria-labelledby=overview] .scroll')"
    seen, whole = browser.run(f"[{region}.clientWidth, {region}.scrollWidth]")
    assert whole <= seen
