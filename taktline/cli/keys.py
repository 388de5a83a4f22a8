"""The command line's way to keys: who a line is, and whom it lets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engines.errors import ConfigError
from pipeline.security import keys as files

Folder = Annotated[Path, typer.Option("--folder", help="Where your keys lie.")]
Allowed = Annotated[Path, typer.Option("--allowed", help="The folder of those who may come in: allowed_clients.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
_KEYS, _ALLOWED = Path("keys"), Path("keys/allowed")


def build_keys() -> typer.Typer:
    """Returns `taktline keys` with its commands."""
    app = typer.Typer(name="keys", no_args_is_help=True, help="Make keys, and say who may come in (CURVE).")
    for command in (new, show, allow, revoke):
        app.command()(command)
    return app


def new(
    name: Annotated[str, typer.Argument(help="Whose key it is: a line, or a client.")],
    folder: Folder = _KEYS,
    as_json: AsJson = False,
) -> None:
    """Make a key pair: NAME.key to hand out, NAME.key_secret for nobody else.

    Example: taktline keys new press4
    """
    pair = files.new_pair(name, folder)
    found = {
        "name": name,
        "public": pair.public.decode(),
        "public_file": str(folder / f"{name}{files.PUBLIC}"),
        "secret_file": str(folder / f"{name}{files.SECRET}"),
    }
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(f"{found['public_file']} may be handed out ({found['public']})")
        typer.echo(f"{found['secret_file']} is for nobody else")


def show(folder: Folder = _KEYS, allowed: Allowed = _ALLOWED, as_json: AsJson = False) -> None:
    """Show your public keys, and those that are let in.

    Example: taktline keys show
    """
    if not folder.is_dir() and not allowed.is_dir():
        raise ConfigError(f"there are no keys in {folder} and {allowed}; make some with: taktline keys new NAME")
    own, clients = files.read_allowed(folder), files.read_allowed(allowed)
    if as_json:
        found = {"keys": own, "allowed": clients}
        typer.echo(json.dumps({kind: {name: key.decode() for name, key in of.items()} for kind, of in found.items()}))
        return
    for title, of in ((f"keys in {folder}", own), (f"let in by {allowed}", clients)):
        table = Table("name", "public key", title=title, title_justify="left")
        for name, key in of.items():
            table.add_row(name, key.decode())
        Console(soft_wrap=True, highlight=False, markup=False).print(table)


def allow(
    key: Annotated[str, typer.Argument(help="A client's public key: its file, or its 40 characters.")],
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name by default.")] = None,
    allowed: Allowed = _ALLOWED,
) -> None:
    """Let a client in, at once and without a restart.

    Example: taktline keys allow office.key
    """
    public = files.read_public(key)
    if name is None:
        if not Path(key).is_file():
            raise ConfigError("a key without a file needs a name; give one with --name")
        name = Path(key).name.removesuffix(files.SECRET).removesuffix(files.PUBLIC)
    typer.echo(f"{name} is let in by {files.allow(name, public, allowed)}")


def revoke(
    name: Annotated[str, typer.Argument(help="What `keys show` calls the client.")],
    allowed: Allowed = _ALLOWED,
) -> None:
    """Let a client in no more; running lines end its connection within a second.

    Example: taktline keys revoke office
    """
    files.revoke(name, allowed)
    typer.echo(f"{name} is let in no more")
