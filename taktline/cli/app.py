"""The front door: Taktline's command line, composed of the floors below."""

from __future__ import annotations

import logging
import os
import sys

import typer
from rich.console import Console
from rich.logging import RichHandler

from engines.errors import TaktlineError
from taktline.cli.bench import build_bench
from taktline.cli.bridge import build_bridge
from taktline.cli.calibrate import calibrate, dataset, evaluate, threshold
from taktline.cli.engines import build, demo, engines
from taktline.cli.journal import build_journal
from taktline.cli.keys import build_keys
from taktline.cli.line import deploy, replay, run, status, tell, watch


def build_app() -> typer.Typer:
    """Returns the command line with all its commands."""
    app = typer.Typer(
        name="taktline",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Real-time visual inspection: one verdict for every part, within its takt.",
    )
    for command in (
        demo,
        dataset,
        calibrate,
        evaluate,
        threshold,
        engines,
        build,
        replay,
        run,
        status,
        deploy,
        tell,
        watch,
    ):
        app.command()(command)
    app.add_typer(build_journal())
    app.add_typer(build_bench())
    app.add_typer(build_keys())
    app.add_typer(build_bridge())
    return app


def main() -> None:
    """Runs a command; what the user can mend ends in one sentence and a non-zero exit code."""
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")
    try:
        build_app()()
    except TaktlineError as error:
        console.print(f"[bold red]taktline:[/] {_plain(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone (`taktline watch | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
