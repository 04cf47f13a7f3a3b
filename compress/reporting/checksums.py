"""The SHA-256 sums of a report's data: written once, compared at every reading."""

from collections.abc import Mapping
from pathlib import Path

from compress.runs import hash_file

DATA = "data"
SUMS_FILE = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the checksums of every file in a data directory, in the form that `sha256sum --check` takes."""
    sums = {name: hash_file(path) for name, path in list_present(folder).items()}
    (folder / SUMS_FILE).write_text(_format_sums(sums), encoding="utf-8")


def _format_sums(sums: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def list_present(folder: Path) -> dict[str, Path]:
    """Name → path of every file in a data directory but the checksums."""
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    present.pop(SUMS_FILE, None)
    return present


def find_altered_files(output_dir: Path) -> list[str]:
    """What is wrong with the data files: changed, missing or not listed; empty where all is well."""
    folder = output_dir / DATA
    try:
        text = (folder / SUMS_FILE).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return [f"{DATA}/{SUMS_FILE} is missing or unreadable"]
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    present = list_present(folder)
    wrong = [name for name in present.keys() & sums.keys() if hash_file(present[name]) != sums[name]]
    problems = [f"{DATA}/{name} differs from its checksum" for name in wrong]
    problems += [f"{DATA}/{name} is missing" for name in sums.keys() - present.keys()]
    problems += [f"{DATA}/{name} has no checksum" for name in present.keys() - sums.keys()]
    if not problems and text != _format_sums(sums):
        return [f"{DATA}/{SUMS_FILE} is not in the form that it is written in"]
    return sorted(problems)
