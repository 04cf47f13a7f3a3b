"""The command line as a whole: the commands that make runs, those about finished models, and those that look around."""

import typer

from compress.cli import catalogue, doctor, finished, making, store

app = typer.Typer(
    name="compress",
    help="Turn a big text encoder and a task into the smallest, fastest encoder that keeps the score, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for part in (making, finished, doctor, catalogue, store):
    app.add_typer(part.app)


def main() -> None:
    """The console script."""
    app()
