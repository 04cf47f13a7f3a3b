"""The SHA-256 sums of a report's data: written once, compared at every reading."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.errors import CompressError
from compress.runs import hash_file

DATA = "data"
SUMS_FILE = "SHA256SUMS"
NAMED = 3
"""Of so many files a message tells each; of more it counts the others."""


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
    broken, unlisted = _compare_sums(output_dir / DATA)
    return sorted([*broken, *unlisted])


def require_unaltered(output_dir: Path) -> None:
    """Refuse a report whose data are not what was written.

    Raises:
        CompressError: A file differs from its sum, is missing or not listed; the first few are named.
    """
    broken, unlisted = _compare_sums(output_dir / DATA)
    if not broken and not unlisted:
        return
    told = "; ".join(name_first(problems) for problems in (broken, unlisted) if problems)
    ways = ["restore it (git checkout)"] if broken else []
    ways += ["move the files without a checksum away"] if unlisted else []
    fix = f"{' and '.join(ways)}, or make the report again from its runs."
    raise CompressError(
        f"The data of the report {output_dir} are not what was written: {told}.",
        fix[:1].upper() + fix[1:],
    )


def name_first(problems: Sequence[str]) -> str:
    """The first few of what may be many problems, and how many more there are."""
    more = len(problems) - NAMED
    return "; ".join(problems) if more <= 0 else f"{'; '.join(problems[:NAMED])}; and {more} more"


def _compare_sums(folder: Path) -> tuple[list[str], list[str]]:
    """What differs from its checksum or is missing, and what has none; each sorted."""
    try:
        text = (folder / SUMS_FILE).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return [f"{DATA}/{SUMS_FILE} is missing or unreadable"], []
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    present = list_present(folder)
    wrong = [name for name in present.keys() & sums.keys() if hash_file(present[name]) != sums[name]]
    broken = [f"{DATA}/{name} differs from its checksum" for name in wrong]
    broken += [f"{DATA}/{name} is missing" for name in sums.keys() - present.keys()]
    unlisted = [f"{DATA}/{name} has no checksum" for name in present.keys() - sums.keys()]
    if not broken and not unlisted and text != _format_sums(sums):
        return [f"{DATA}/{SUMS_FILE} is not in the form that it is written in"], []
    return sorted(broken), sorted(unlisted)
