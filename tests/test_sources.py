"""Which runs a name or a directory stands for."""

import pytest

from compress.errors import CompressError, UnknownNameError
from compress.recipes.methods import Masking
from compress.recipes.stages import Pretrain
from compress.recipes.values import Training
from compress.sources import collect_runs
from tests.test_inventory import finetuned, put


@pytest.fixture
def store(tmp_path):
    """A classifier, and a model that answers no task."""
    documents = {
        "id": "corpus/m/pretrain-00000002",
        "task": None,
        "subject": "corpus",
        "stage": Pretrain(masking=Masking(), training=Training()),
    }
    put(tmp_path / "runs", finetuned(1))
    put(tmp_path / "runs", finetuned(2, **documents))
    return tmp_path / "runs"


def ids(*names, store):
    return [stored.run.id for stored in collect_runs([str(name) for name in names], runs=store)]


def test_a_directory_stands_for_what_can_be_compared(store):
    assert ids(store, store=store) == ["sst2/m/finetune-00000001"]
    assert ids(store / "sst2", store / "sst2/m", store=store) == ["sst2/m/finetune-00000001"]


def test_what_is_named_is_taken_although_it_answers_no_task(store):
    """A report refuses it with a reason; to leave it out would be silent."""
    assert ids(store / "corpus/m/pretrain-00000002", store=store) == ["corpus/m/pretrain-00000002"]


def test_an_empty_directory_is_no_run(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CompressError):
        ids(tmp_path / "empty", store=store)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sst2", "{store}/sst2"), ("{store}/sst2/mm", "{store}/sst2/m"), ("sst2/m", "{store}/sst2/m")],
)
def test_a_mistyped_run_is_answered_with_runs(store, name, meant):
    """Guards a list of fifteen teachers, and a search of the Hub, for who mistyped a run."""
    with pytest.raises(UnknownNameError, match="is no directory of runs") as error:
        ids(name.format(store=store), store=store)
    expected = f"Did you mean {meant.format(store=store)!r}? The store {store} holds runs of "
    assert error.value.fix == f"{expected}{store}/corpus, {store}/sst2."


def test_a_store_without_runs_says_so(tmp_path):
    with pytest.raises(UnknownNameError) as error:
        ids("nothing", store=tmp_path / "runs")
    assert error.value.fix.startswith(f"The store {tmp_path / 'runs'} holds no finished run")
