"""`taktline bench`: one file per command."""

from __future__ import annotations

import typer

from taktline.cli.bench.capture import capture
from taktline.cli.bench.compare import compare
from taktline.cli.bench.delivery import delivery
from taktline.cli.bench.engine import engine
from taktline.cli.bench.fanout import fanout
from taktline.cli.bench.history import history
from taktline.cli.bench.inspect import inspect
from taktline.cli.bench.line import line
from taktline.cli.bench.peers import peers
from taktline.cli.bench.soak import soak
from taktline.cli.bench.store import store


def build_bench() -> typer.Typer:
    """Returns the commands under `taktline bench`."""
    app = typer.Typer(name="bench", no_args_is_help=True, help="Measure latency and throughput.")
    for command in (engine, line, inspect, capture, delivery, fanout, history, store, soak, peers, compare):
        app.command()(command)
    return app
