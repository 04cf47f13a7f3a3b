"""Names of the Hub: found in its cache without a connection; what cannot be had is told with the ways on."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel, safetensors_conversion
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.errors import CompressError, InvalidInputError
from compress.hub import fetch_snapshot, find_snapshot
from compress.recipes.schema import HubSource
from compress.sources import resolve_model
from tests.conftest import tiny_config

COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"
OTHER = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, and a working directory without recipes of its own."""
    folder = tmp_path / "hub-cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def put(cache, name, source, *, commit=COMMIT, refs=("main",), keep=lambda file: True):
    """A directory's files as the Hub's cache holds them: blobs, and snapshots of links to them."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for part in (folder / "blobs", folder / "refs", snapshot):
        part.mkdir(parents=True, exist_ok=True)
    for file in filter(keep, sorted(source.iterdir())):
        blob = folder / "blobs" / f"{commit[:4]}-{file.name}"
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    for ref in refs:
        (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return snapshot


def finetune(*arguments):
    return CliRunner().invoke(app, ["finetune", *map(str, arguments), "--json"])


def test_a_teacher_comes_from_the_cache_and_its_commit_is_its_key(cache, teacher_directory, task_file):
    put(cache, "google-bert/bert-base-uncased", teacher_directory)
    done = finetune("bert-base", "--task", task_file, "--max-steps", "2", "--no-bf16", "--max-length", "32")
    assert done.exit_code == 0, done.stderr
    (parent,) = json.loads(done.stdout)["parents"]
    assert parent == {
        "role": "model",
        "name": "bert-base",
        "origin": f"hub google-bert/bert-base-uncased {COMMIT}",
        "key": COMMIT,
    }


def test_a_hub_id_is_a_name_too(cache, teacher_directory, tmp_path):
    snapshot = put(cache, "somebody/some-encoder", teacher_directory)
    model = resolve_model("somebody/some-encoder", store=tmp_path / "runs")
    assert (model.name, model.path, model.key) == ("some-encoder", snapshot, COMMIT)


def test_a_revision_is_taken_at_its_word(cache, teacher_directory, tmp_path):
    put(cache, "somebody/some-encoder", teacher_directory)
    put(cache, "somebody/some-encoder", teacher_directory, commit=OTHER, refs=("v1",))
    assert fetch_snapshot(HubSource(id="somebody/some-encoder", revision="v1")).name == OTHER
    assert fetch_snapshot(HubSource(id="somebody/some-encoder", revision=COMMIT)).name == COMMIT
    with pytest.raises(CompressError, match="revision v2"):
        fetch_snapshot(HubSource(id="somebody/some-encoder", revision="v2"))


def test_weights_in_several_files_are_weights(cache, tokenizer, tmp_path):
    AutoModel.from_config(tiny_config("bert", tokenizer)).save_pretrained(
        tmp_path / "big", max_shard_size="10KB"
    )
    tokenizer.save_pretrained(tmp_path / "big")
    assert (tmp_path / "big" / "model.safetensors.index.json").is_file()
    snapshot = put(cache, "somebody/big", tmp_path / "big")
    assert find_snapshot(HubSource(id="somebody/big")) == snapshot
    assert AutoModel.from_pretrained(fetch_snapshot(HubSource(id="somebody/big"))).config.hidden_size == 24


def test_without_the_hub_a_teacher_fails_with_one_message_and_the_ways_on(task_file):
    done = finetune("bert-base", "--task", task_file)
    assert done.exit_code == 1
    told = done.stderr[done.stderr.index("Error: ") :]
    assert done.stderr.count("Error: ") == 1
    for part in (
        "'bert-base'",
        "google-bert/bert-base-uncased (revision main)",
        "hub-cache",
        "HF_HUB_OFFLINE is set",
        "compress pretrain bert-base --corpus",
        "minilm-l6",
    ):
        assert part in told
    assert "Traceback" not in told


def test_a_path_with_a_typing_error_is_not_only_called_unreachable(tmp_path):
    with pytest.raises(CompressError, match="'runs/sst3' is no directory and no teacher"):
        resolve_model("runs/sst3", store=tmp_path / "runs")


@pytest.mark.parametrize("keep", [".json", ".bin"])
def test_a_snapshot_without_safetensors_is_refused(cache, teacher_directory, keep):
    """An unfinished download, and a model that is kept as a pickle."""
    torch.save({}, teacher_directory / "pytorch_model.bin")
    put(cache, "somebody/old", teacher_directory, keep=lambda file: file.suffix in {".json", keep})
    assert find_snapshot(HubSource(id="somebody/old")) is None
    with pytest.raises(CompressError, match=r"no \*\.safetensors.*no pickles"):
        fetch_snapshot(HubSource(id="somebody/old"))


@pytest.mark.parametrize(("author", "taken"), [("SFconvertbot", True), ("somebody-else", False)])
def test_the_hub_s_own_conversion_is_taken_and_nobody_else_s(
    cache, teacher_directory, monkeypatch, caplog, author, taken
):
    """Guards weights that a stranger offers under the converter's title."""
    put(cache, "somebody/old", teacher_directory, keep=lambda file: file.suffix == ".json")
    put(cache, "somebody/old", teacher_directory, commit=OTHER, refs=("refs/pr/3",))
    request = SimpleNamespace(num=3, author=author)
    monkeypatch.setattr(safetensors_conversion, "previous_pr", lambda api, name, title, token: request)
    if taken:
        assert fetch_snapshot(HubSource(id="somebody/old")).name == OTHER
        assert "refs/pr/3" in caplog.text
        monkeypatch.setattr(
            safetensors_conversion, "previous_pr", lambda *_, **__: None
        )  # out of reach from now on
        assert fetch_snapshot(HubSource(id="somebody/old")).name == OTHER
        assert find_snapshot(HubSource(id="somebody/old")).name == OTHER
    else:
        with pytest.raises(CompressError, match="no pickles"):
            fetch_snapshot(HubSource(id="somebody/old"))


def test_what_is_no_id_is_told():
    with pytest.raises(InvalidInputError, match="no id of the Hub"):
        fetch_snapshot(HubSource(id="some body/../x"))
