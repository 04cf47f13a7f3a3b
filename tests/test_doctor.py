"""The doctor: each lack is found and mended by its command, and nothing that it asks can hang."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pytest
from packaging.requirements import Requirement
from pyarrow import parquet
from typer.testing import CliRunner

from compress import environment
from compress.cli.commands import app
from compress.doctor import machine, packages, reach
from compress.doctor.examination import examine
from compress.doctor.findings import Diagnosis, Finding
from compress.recipes.resolve import list_recipes, resolve_teacher
from compress.recipes.schema import HubSource, LocalSource, PackageSource
from compress.sources import locate_weights
from compress.tasks import GLUE

TORCH = Requirement("torch>=2.11")


def judge(installed, requirement=TORCH, tested="2.13.0"):
    return packages.judge_required([requirement], installed={"torch": installed}, tested={"torch": tested})


@pytest.mark.parametrize(
    ("installed", "state", "fix"),
    [
        ("2.13.0", "good", None),
        ("2.13.0+cpu", "good", None),
        ("2.12.1", "lacking", "pip install 'torch==2.13.0'"),
        ("2.10.0", "broken", "pip install 'torch==2.13.0'"),
        (None, "broken", "pip install 'torch==2.13.0'"),
    ],
)
def test_a_package_is_as_tested_in_range_or_broken(installed, state, fix):
    (finding,) = judge(installed)
    assert (finding.state, finding.fix) == (state, fix)


def test_a_required_package_that_was_never_pinned_is_installed_by_its_range():
    (finding,) = packages.judge_required([TORCH], installed={"torch": None}, tested={})
    assert finding.fix == "pip install 'torch>=2.11'"


def test_every_requirement_that_users_have_is_pinned_in_the_tested_set():
    """Guards a dependency that was added to pyproject.toml alone: nobody would know which version works."""
    import tomllib

    project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())[
        "project"
    ]
    needed = {Requirement(line).name for line in project["dependencies"]}
    assert needed <= set(environment.tested_versions())
    assert set(packages.OPTIONAL) | {"dev"} == set(project["optional-dependencies"])


def test_a_missing_extra_is_mended_by_naming_what_is_missing():
    wanted = [Requirement("openvino>=2026.0"), Requirement("nncf>=3.0")]
    finding = packages.judge_extra("openvino", wanted, {"openvino": "2026.4.1", "nncf": None})
    assert finding.state == "lacking"
    assert finding.fix == "pip install 'nncf>=3.0'"
    finding = packages.judge_extra("openvino", wanted, {"openvino": "2026.4.1", "nncf": "3.4.0"})
    assert finding.state == "good"


def test_a_package_that_does_not_load_is_broken(monkeypatch):
    def fail(name):
        raise OSError("libtorch.so: cannot open shared object file")

    assert packages.check_import("onnx") is None
    monkeypatch.setattr(packages.importlib, "import_module", fail)
    finding = packages.check_import("onnx")
    assert finding.state == "broken"
    assert "libtorch.so" in finding.text
    assert finding.fix.startswith("pip install --force-reinstall 'onnx==")


def test_without_torch_the_rest_is_still_told(tmp_path, monkeypatch):
    broken = Finding(
        area="packages", name="torch", state="broken", text="is not installed", fix="pip install torch"
    )
    monkeypatch.setattr("compress.doctor.examination.check_packages", lambda: [broken])
    monkeypatch.setattr(machine, "_threads", pytest.fail)
    monkeypatch.setattr(machine, "_gpu", pytest.fail)
    diagnosis = examine(store=tmp_path)
    assert not diagnosis.healthy
    assert {"machine", "reach", "teachers"} <= set(diagnosis.by_area())


@pytest.mark.parametrize(
    ("flags", "state", "word"),
    [
        ({"avx2"}, "lacking", "hardly faster"),
        ({"avx512f", "avx512_vnni"}, "good", "VNNI"),
        ({"avx_vnni"}, "good", "VNNI"),
        ({"avx512_vnni", "amx_int8"}, "good", "AMX"),
        ({"asimd", "asimddp"}, "good", "dot-product"),
        (set(), "lacking", "no VNNI"),
    ],
)
def test_flags_tell_what_int8_costs(flags, state, word):
    finding = machine.judge_int8(flags)
    assert finding.state == state
    assert word in finding.text


@pytest.mark.parametrize("kind", ["x86_64", "arm64"])
def test_only_where_sums_saturate_weights_are_said_to_take_seven_bits(kind, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: kind)
    assert ("take 7 bits" in machine.judge_int8(set()).text) is (kind == "x86_64")


def test_bfloat16_is_told_as_training_decides_it(monkeypatch):
    for flags in ({"avx512_bf16"}, {"amx_bf16"}, {"avx512f"}, {"bf16"}):
        monkeypatch.setattr(environment, "processor", lambda flags=flags: ("x", frozenset(flags)))
        environment.multiplies_bfloat16.cache_clear()
        told = machine.judge_bfloat16(flags).text.startswith("native")
        assert told == environment.multiplies_bfloat16()
    environment.multiplies_bfloat16.cache_clear()


def test_little_memory_or_disk_is_told(tmp_path, monkeypatch):
    assert machine.judge_memory(total=8 * 10**9, available=10**9).state == "lacking"
    assert machine.judge_memory(total=8 * 10**9, available=7 * 10**9).state == "good"
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    assert machine.check_disk(tmp_path / "runs").fix == "compress runs clean"


def test_a_store_that_cannot_be_made_is_broken(tmp_path):
    (tmp_path / "runs").write_text("a file")
    finding = machine.check_disk(tmp_path / "runs")
    assert finding.state == "broken"
    assert "--runs" in finding.fix
    assert machine.check_disk(tmp_path / "not" / "yet" / "there").state == "good"


def test_paths_do_not_tell_the_user_s_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environment.show_path(tmp_path / "cache") == "~/cache"
    assert environment.show_path(Path("/elsewhere")) == "/elsewhere"


def test_a_hub_that_never_answers_does_not_hold_us_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        before = time.perf_counter()
        probe = reach.Probe(f"http://127.0.0.1:{silent.getsockname()[1]}/x", seconds=0.5)
        reached, said = probe.result()
    assert not reached
    assert said
    assert time.perf_counter() - before < 5


def test_a_name_that_never_resolves_does_not_keep_the_process_from_ending():
    """A resolver obeys no timeout of ours: the probe is left behind, even at exit."""
    program = """
import socket, time
socket.getaddrinfo = lambda *_, **__: time.sleep(600)
from compress.doctor.reach import Probe
print(Probe("http://hub.invalid/x", seconds=0.5).result())
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert "no answer within" in done.stdout


@pytest.mark.parametrize(("status", "reached"), [(200, True), (307, True), (404, False), (502, False)])
def test_only_an_answer_that_serves_counts(status, reached, monkeypatch):
    class Session:
        def head(self, url, **_):
            return type("Response", (), {"status_code": status})

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    found, said = reach.Probe("http://hub.invalid/x").result()
    assert found == reached
    assert str(status) in said


def test_offline_by_the_environment_is_told_and_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(reach, "Probe", pytest.fail)
    hub, findings = reach.check_hub(reach.start_probe())
    assert hub == "offline"
    assert "HF_HUB_OFFLINE" in findings[0].text


def write_clone(clone, **changes):
    """A clone of GLUE with as many rows as the original, except where `changes` says otherwise."""
    for task, splits in reach.GLUE_ROWS.items():
        (clone / task).mkdir(parents=True)
        for split, rows in (splits | changes.get(task, {})).items():
            if rows is not None:
                table = pyarrow.table({"idx": pyarrow.nulls(rows)})
                parquet.write_table(table, clone / task / f"{split}-00000-of-00001.parquet")
    return clone


def test_the_rows_of_glue_are_known_for_every_split_that_tasks_read():
    assert {name: {task.train, *task.validation} for name, task in GLUE.items()} == {
        name: set(splits) for name, splits in reach.GLUE_ROWS.items()
    }


def test_a_whole_clone_is_good(tmp_path):
    (finding,) = reach.check_glue(write_clone(tmp_path / "glue"), hub="offline")
    assert finding.state == "good"
    assert all(name in finding.text for name in GLUE)


def test_a_clone_with_gaps_says_which_task_lacks_what(tmp_path):
    clone = write_clone(tmp_path / "glue", qnli={"train": None}, mnli={"train": 12_906})
    (clone / "rte" / "train-00000-of-00001.parquet").write_text("damaged")
    summary, *rest = reach.check_glue(clone, hub="offline")
    told = {finding.name: finding.text for finding in rest}
    assert set(told) == {"GLUE qnli", "GLUE mnli", "GLUE rte"}
    assert told["GLUE qnli"] == "no train: cannot be used"
    assert "12,906 of 392,702 rows in train" in told["GLUE mnli"]
    assert "cannot be used" in told["GLUE rte"]
    assert "qnli" not in summary.text
    assert all(finding.fix for finding in rest)


def test_without_a_clone_glue_depends_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    (tmp_path / "nyu-mll___glue" / "sst2").mkdir(parents=True)
    (there,) = reach.check_glue(None, hub="reachable")
    (missing,) = reach.check_glue(None, hub="unreachable")
    assert (there.state, missing.state) == ("good", "lacking")
    assert "COMPRESS_GLUE" in missing.fix
    assert "in the cache: sst2" in missing.text
    assert reach.check_glue(tmp_path / "none", hub="reachable")[0].state == "lacking"


def teacher_from(source):
    return resolve_teacher("bert-base").model_copy(update={"source": source})


def cache_snapshot(cache, *files):
    """A model in the Hub's cache, as `huggingface_hub` lays it out."""
    folder = cache / "models--a--b"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    for file in files:
        (snapshot / file).write_text("{}")
    return snapshot


def test_a_teacher_is_at_hand_where_its_weights_are(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub = teacher_from(HubSource(id="a/b"))
    assert locate_weights(hub) is None
    snapshot = cache_snapshot(tmp_path, "config.json")
    assert locate_weights(hub) is None  # a download that broke off
    (snapshot / "model.safetensors").write_text("")
    assert locate_weights(hub) == snapshot
    assert locate_weights(teacher_from(LocalSource(path=str(snapshot)))) == snapshot
    assert locate_weights(teacher_from(LocalSource(path=str(tmp_path)))) is None
    assert locate_weights(teacher_from(PackageSource(package="no-such-package", version="1"))) is None


@pytest.mark.parametrize(
    ("hub", "state"), [("reachable", "good"), ("unreachable", "lacking"), ("offline", "lacking")]
)
def test_a_hub_teacher_that_is_not_cached_depends_on_the_hub(hub, state, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    findings = {finding.name: finding for finding in reach.check_teachers(hub=hub)}
    assert set(findings) == set(list_recipes("teachers"))
    assert findings["bert-base"].state == state
    if state == "lacking":
        assert "hf download google-bert/bert-base-uncased" in findings["bert-base"].fix


def test_a_teacher_s_file_with_a_mistake_is_one_lack_among_others(tmp_path, monkeypatch):
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "mine.toml").write_text("family = 'bert'")
    monkeypatch.chdir(tmp_path)
    findings = {finding.name: finding for finding in reach.check_teachers(hub="offline")}
    assert findings["mine"].state == "lacking"
    assert "architecture: missing" in findings["mine"].text


def doctor(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_the_command_tells_every_finding_and_lacks_are_no_failure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPRESS_GLUE", raising=False)
    result = doctor("--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["healthy"]
    lacks = [finding for finding in value["findings"] if finding["state"] != "good"]
    assert "Hub" in {finding["name"] for finding in lacks}  # the tests run offline
    assert all(finding["fix"] for finding in lacks)
    shown = " ".join(doctor().stdout.split())
    for finding in value["findings"]:
        assert finding["name"] in shown


def test_something_required_that_is_broken_is_status_1(tmp_path):
    (tmp_path / "runs").write_text("a file")
    result = doctor("--runs", str(tmp_path / "runs"))
    assert result.exit_code == 1
    assert "→ Choose another store" in result.stdout
    assert "1 broken" in result.stdout


def test_a_diagnosis_counts_what_it_found():
    findings = tuple(
        Finding(area="a", name=state, state=state, text="")
        for state in ("good", "lacking", "lacking", "broken")
    )
    assert Diagnosis(findings=findings).counts() == {"good": 1, "lacking": 2, "broken": 1}
