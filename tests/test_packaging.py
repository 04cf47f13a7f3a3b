"""What is installed finds what the checkout holds: from the wheel, from the sdist, and editable.

Guards a package that works in its checkout only: recipes, the sample task and the tested versions lie
outside of what Python's import finds by itself.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import compress
from compress.recipes.resolve import list_recipes

ROOT = Path(__file__).resolve().parent.parent
LARGEST_FILE = 5_000_000
PROBE = """
import json, subprocess, sys
import compress
from compress.environment import tested_versions
from compress.recipes.resolve import list_recipes, resolve_student, resolve_teacher
from compress.data.task_data import load_task_data
from compress.tasks import resolve_task

listed = subprocess.run([sys.executable, "-m", "compress", "list", "--json"], capture_output=True, check=True)
sample = load_task_data(resolve_task("sample"))
print(json.dumps({
    "package": compress.__file__,
    "listed": json.loads(listed.stdout),
    "teachers": {name: resolve_teacher(name).model_dump(mode="json") for name in list_recipes("teachers")},
    "students": {name: resolve_student(name).model_dump(mode="json") for name in list_recipes("students")},
    "sample": [sample.fingerprint, *(split.fingerprint for split in sample.validation)],
    "tested": tested_versions(),
}))
"""


def call(*command: str | Path, folder: Path, path: Path) -> str:
    """Run Python in a folder, with nothing but `path` on its PYTHONPATH; its stdout."""
    environment = {**os.environ, "PYTHONPATH": str(path), "HF_HOME": str(folder / "cache")}
    environment.pop("COMPRESS_GLUE", None)
    line = [sys.executable, *map(str, command)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(checkout: Path, target: str, dist: Path) -> Path:
    """The wheel or the sdist of a source tree, made by the backend that pyproject.toml names."""
    call("-m", "hatchling", "build", "-t", target, "-d", dist, folder=checkout, path=checkout)
    (made,) = dist.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[target])
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel_of_sdist(sdist, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel-of-sdist"))


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict:
    """What the checkout itself finds, seen from another directory."""
    return json.loads(call("-c", PROBE, folder=tmp_path_factory.mktemp("elsewhere"), path=ROOT))


@pytest.mark.parametrize("origin", ["wheel", "wheel_of_sdist"])
def test_an_installed_package_finds_what_the_checkout_holds(origin, expected, request, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel = request.getfixturevalue(origin)
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    call(*pip, "--target", target, wheel, folder=elsewhere, path=target)
    found = json.loads(call("-c", PROBE, folder=elsewhere, path=target))
    assert Path(found.pop("package")) == target / "compress" / "__init__.py"
    assert found == {key: value for key, value in expected.items() if key != "package"}


def test_the_checkout_finds_its_own(expected):
    assert Path(expected["package"]) == ROOT / "compress" / "__init__.py"
    for kind in ("teachers", "students"):
        assert set(expected[kind]) == {file.stem for file in (ROOT / kind).glob("*.toml")}
    assert len(expected["tested"]) > 20


def test_an_editable_install_reads_the_recipes_of_its_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(compress.__file__) == ROOT / "compress" / "__init__.py"
    assert not (ROOT / "compress" / "_recipes").exists()
    for kind in ("teachers", "students"):
        assert {path.parent for path in list_recipes(kind).values()} == {ROOT / kind}


def test_the_wheel_holds_the_whole_package_and_no_more(wheel):
    package = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "compress").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    recipes = [*ROOT.glob("teachers/*"), *ROOT.glob("students/*")]
    brought = {f"compress/_recipes/{file.relative_to(ROOT).as_posix()}" for file in recipes}
    information = {name for name in contents(wheel) if ".dist-info/" in name}
    assert set(contents(wheel)) - information == package | brought | {"compress/_tested/constraints.txt"}


def test_the_wheel_is_small_and_licensed(wheel):
    files = contents(wheel)
    assert max(files.values()) < LARGEST_FILE
    assert any(name.endswith("licenses/LICENSE") for name in files)
    samples = {path.name for path in (ROOT / "compress" / "samples").iterdir() if path.is_dir()}
    assert samples >= {"subj", "corpus"}
    for sample in samples:
        assert f"compress/samples/{sample}/LICENSE.md" in files
        assert any(name.endswith(f"licenses/compress/samples/{sample}/LICENSE.md") for name in files)


def test_the_sdist_holds_what_testing_and_building_take(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        sizes = [member.size for member in archive.getmembers()]
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt"} <= names
    assert "tests/test_packaging.py" in names
    assert not [name for name in names if name.startswith(("reports/", "runs/")) or name.endswith(".pyc")]
    assert max(sizes) < LARGEST_FILE
