"""Where a command's words go: people, programs or nobody; and how each failure is told."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.processes import is_main, leave, require_all_started

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


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
        require_all_started()
        yield
        leave()
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:
        if os.environ.get("COMPRESS_DEBUG") == "1":
            raise
        message, status = _explain(error)
        sys.stderr.write(message + "\n")
        raise typer.Exit(status) from None


def _explain(error: BaseException) -> tuple[str, int]:
    """The table from a failure to its message and exit status."""
    match error:
        case UnknownNameError() | InvalidInputError():
            return f"Error: {error.problem}\n{error.fix}", EXIT_USAGE
        case CompressError():
            return f"Error: {error.problem}\n{error.fix}", EXIT_FAILED
        case KeyboardInterrupt():
            return "Interrupted. The same command goes on from the last checkpoint.", EXIT_INTERRUPTED
        case MemoryError():
            fix = "Lower --per-device-train-batch-size (and raise --gradient-accumulation-steps), or --max-length."
            return f"Error: The machine's memory is full.\n{fix}", EXIT_FAILED
        case OSError() if error.errno is not None:
            fix = "Mend that; the same command goes on from the last checkpoint."
            return f"Error: {error.strerror}: {error.filename or ''}\n{fix}", EXIT_FAILED
        case _:
            fix = "This is a fault of compress. COMPRESS_DEBUG=1 shows where; please report it."
            return f"Error: {type(error).__name__}: {error}\n{fix}", EXIT_FAILED


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
