"""Where a command's words go: people, programs or nobody; and how each failure is told."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.processes import is_main, leave
from compress.storage import find_failed_write

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

LESS_MEMORY = (
    "Lower --per-device-train-batch-size (and raise --gradient-accumulation-steps), or --max-length."
)
OFFLINE = "Be online and try again, bring a local directory, or set HF_HUB_OFFLINE=1 to use what is cached."
ROOM = (
    "Make room there; the same command goes on from the last checkpoint. Or choose another store: --runs DIR."
)
OUR_FAULT = "This is a fault of compress. COMPRESS_DEBUG=1 shows where; please report it."
GO_ON = "Mend that; the same command goes on from the last checkpoint."


class Output:
    """The one sink of a command.

    Progress goes to stderr. The result goes to stdout: as text, or (`as_json`) as one JSON value and nothing else.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        _route_logs(logging.INFO if is_main() and not quiet else logging.WARNING)

    def give(self, value: Any, text: Any) -> None:
        """Hand over the result.

        Args:
            value: For programs: what JSON can hold.
            text: For people: a string, printed as it is, or anything that rich lays out.
        """
        if not is_main():
            return
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        elif not self.quiet:
            from rich.console import Console

            console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
            console.print(text, markup=False, soft_wrap=isinstance(text, str))


@contextmanager
def telling_failures() -> Iterator[None]:
    """Turn every failure into one message and an exit status; with COMPRESS_DEBUG=1 let it through."""
    try:
        yield
        leave()
        sys.stdout.flush()  # here, where a reader that has gone is told quietly
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except BaseException as error:
        if os.environ.get("COMPRESS_DEBUG") == "1":
            raise
        if isinstance(error, BrokenPipeError) and error.filename is None:
            _close_stdout()
            raise typer.Exit(EXIT_FAILED) from None
        message, status = _explain(error)
        sys.stderr.write(message + "\n")
        raise typer.Exit(status) from None


def _close_stdout() -> None:
    """Nobody reads on (`compress list | head -1`): what is left goes nowhere, and Python's last flush succeeds."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: BaseException) -> tuple[str, int]:
    """The table from a failure to its message and exit status."""
    match error:
        case UnknownNameError() | InvalidInputError():
            return f"Error: {error.problem}\n{error.fix}", EXIT_USAGE
        case CompressError():
            return f"Error: {error.problem}\n{error.fix}", EXIT_FAILED
        case KeyboardInterrupt():
            return (
                "Interrupted. What was finished is kept: the same command goes on from there.",
                EXIT_INTERRUPTED,
            )
        case _:
            problem, fix = _explain_foreign(error, " ".join(str(error).split()) or type(error).__name__)
            return f"Error: {problem}\n{fix}", EXIT_FAILED


def _explain_foreign(error: BaseException, text: str) -> tuple[str, str]:
    """What Python's and other libraries' errors mean to a user; types go by their names, for none is imported."""
    if _is_full_memory(error, text):
        return f"The memory is full: {text:.200}", LESS_MEMORY
    if reason := find_failed_write(error):
        name = getattr(error, "filename", None)
        return f"A write failed: {reason}{f' ({name})' if name else ''}.", ROOM
    if _is(error, "huggingface_hub.errors"):
        return f"The Hugging Face Hub did not give what was asked for: {text}", OFFLINE
    if isinstance(error, UnicodeDecodeError):
        return (
            f"A file is not UTF-8: {text}.",
            "Save it as UTF-8. (COMPRESS_DEBUG=1 shows which was being read.)",
        )
    if isinstance(error, OSError) or _is(error, "pyarrow.lib"):
        name = getattr(error, "filename", None)
        what = getattr(error, "strerror", None) or f"A file cannot be read or written: {text}"
        return what + (f": {name}" if name else ""), GO_ON
    return f"{type(error).__name__}: {text}", OUR_FAULT


def _is(error: BaseException, *origins: str) -> bool:
    """Whether an error's type, or one that it derives from, comes from one of these modules or goes by this name."""
    kinds = type(error).__mro__
    return any(
        origin in (kind.__module__, f"{kind.__module__}.{kind.__name__}")
        for kind in kinds
        for origin in origins
    )


def _is_full_memory(error: BaseException, text: str) -> bool:
    return (
        isinstance(error, MemoryError)
        or _is(error, "torch.OutOfMemoryError")
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in text)
    )


def hush_progress_bars() -> None:
    """Silence the bars of weights being read and written; those of downloads stay."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]


def _route_logs(level: int) -> None:
    """Our own progress to stderr; the libraries' only where something is wrong."""
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("compress")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
