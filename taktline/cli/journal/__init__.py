"""`taktline journal`: one file per command."""

from __future__ import annotations

import typer

from taktline.cli.journal.events import events
from taktline.cli.journal.export import export
from taktline.cli.journal.index import index
from taktline.cli.journal.label import label
from taktline.cli.journal.query import query
from taktline.cli.journal.verify import verify


def build_journal() -> typer.Typer:
    """Returns the commands under `taktline journal`."""
    app = typer.Typer(name="journal", no_args_is_help=True, help="Query, export, label or check a line's journal.")
    for command in (query, events, export, label, verify, index):
        app.command()(command)
    return app
