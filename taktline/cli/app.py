"""The command line: all commands, and how failures are reported.

Commands import what they need when they run, so that help, completion and subscribers start fast.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from engines.errors import LineHung, TaktlineError
from taktline.cli.adapt import adapt
from taktline.cli.bench import build_bench
from taktline.cli.bridge import build_bridge
from taktline.cli.calibrate import calibrate
from taktline.cli.camera import build_camera
from taktline.cli.compare import compare
from taktline.cli.console import stderr
from taktline.cli.dashboard import dashboard, dashboard_user
from taktline.cli.dataset import dataset
from taktline.cli.demo import demo
from taktline.cli.deploy import deploy
from taktline.cli.engines import build, engines
from taktline.cli.evaluate import evaluate
from taktline.cli.fleet import build_fleet
from taktline.cli.inspect import inspect
from taktline.cli.journal import build_journal
from taktline.cli.keys import build_keys
from taktline.cli.orders import rollback, tell
from taktline.cli.replay import replay
from taktline.cli.run import run
from taktline.cli.signals import ended_by_sigterm
from taktline.cli.status import status
from taktline.cli.threshold import threshold
from taktline.cli.watch import watch


def build_app() -> typer.Typer:
    """Returns the command line with all its commands."""
    app = typer.Typer(
        name="taktline",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Real-time visual inspection: one verdict for every part, within its takt.",
    )
    for command in (demo, dataset, calibrate, evaluate, threshold, adapt, compare, engines, build, replay, run, status):
        app.command()(command)
    for command in (inspect, deploy, rollback):
        app.command()(command)
    # A negative threshold is a value, not an option.
    app.command(context_settings={"ignore_unknown_options": True})(tell)
    app.command()(watch)
    app.command()(dashboard)
    app.command()(dashboard_user)
    for group in (build_camera(), build_journal(), build_bench(), build_keys(), build_bridge(), build_fleet()):
        app.add_typer(group)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code. Errors that the user can fix are reported in one sentence.

    Args:
        arguments: the words after `taktline`; None for those of this process.
    """
    console = stderr()
    with _logging_to(console), ended_by_sigterm():
        try:
            build_app()(args=None if arguments is None else list(arguments), prog_name="taktline")
        except TaktlineError as error:
            console.print(Text.assemble(("taktline:", "bold red"), f" {error}"))
            if isinstance(error, LineHung):
                # At exit, Python would wait for threads that never end.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(error.exit_code)
            return error.exit_code
        except BrokenPipeError:
            # The reader of our output has gone (`taktline watch | head`), which is not a failure.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


@contextmanager
def _logging_to(console: Console) -> Iterator[None]:
    """Shows warnings and errors of all packages while a command runs."""
    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
