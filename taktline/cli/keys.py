"""`taktline keys new`, `show`, `allow` and `revoke`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.errors import ConfigError
from taktline.cli.console import show as print_tables
from taktline.cli.console import show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import Column, ResultTable

FolderOption = Annotated[Path, typer.Option("--folder", help="Folder of your own keys.")]
AllowedOption = Annotated[
    Path, typer.Option("--allowed", help="Folder of allowed clients, which is allowed_clients in the line file.")
]
_KEYS, _ALLOWED = Path("keys"), Path("keys/allowed")


def build_keys() -> typer.Typer:
    """Returns the commands under `taktline keys`."""
    app = typer.Typer(name="keys", no_args_is_help=True, help="Make CURVE keys, and allow or revoke clients.")
    for command in (new, show, allow, revoke):
        app.command()(command)
    return app


def new(
    name: Annotated[str, typer.Argument(help="Name of the line or client that the key is for.")],
    folder: FolderOption = _KEYS,
    as_json: JsonFlag = False,
) -> None:
    """Make a key pair: NAME.key to hand out, and NAME.key_secret to keep.

    Example: taktline keys new press4
    """
    from pipeline.security import keys as files

    pair = files.new_pair(name, folder)
    public, secret = folder / f"{name}{files.PUBLIC}", folder / f"{name}{files.SECRET}"
    if as_json:
        show_json(
            {"name": name, "public": pair.public.decode(), "public_file": str(public), "secret_file": str(secret)}
        )
    else:
        typer.echo(f"{public} is the public key: hand it out ({pair.public.decode()})")
        typer.echo(f"{secret} is the secret key: keep it here")


def show(folder: FolderOption = _KEYS, allowed: AllowedOption = _ALLOWED, as_json: JsonFlag = False) -> None:
    """Show your public keys, and those of allowed clients.

    Example: taktline keys show
    """
    from pipeline.security import keys as files

    if not folder.is_dir() and not allowed.is_dir():
        raise ConfigError(f"there are no keys in {folder} or {allowed}; make some with: taktline keys new NAME")
    own, clients = files.read_allowed(folder), files.read_allowed(allowed)
    if as_json:
        found = {"keys": own, "allowed": clients}
        show_json({kind: {name: key.decode() for name, key in of.items()} for kind, of in found.items()})
        return
    print_tables(key_table(own, f"keys in {folder}"), key_table(clients, f"clients allowed in {allowed}"))


def allow(
    key: Annotated[str, typer.Argument(help="A client's public key: its file, or its 40 characters.")],
    name: Annotated[str | None, typer.Option(help="Name for the client. Default: the file's name.")] = None,
    allowed: AllowedOption = _ALLOWED,
) -> None:
    """Allow a client. This takes effect at once, without a restart.

    Example: taktline keys allow office.key
    """
    from pipeline.security import keys as files

    public = files.read_public(key)
    if name is None:
        if not Path(key).is_file():
            raise ConfigError("a key without a file needs a name; give one with --name")
        name = Path(key).name.removesuffix(files.SECRET).removesuffix(files.PUBLIC)
    typer.echo(f"{name} is now allowed ({files.allow(name, public, allowed)})")


def revoke(
    name: Annotated[str, typer.Argument(help="The client's name, as `taktline keys show` lists it.")],
    allowed: AllowedOption = _ALLOWED,
) -> None:
    """Revoke a client. Running lines end its connection within a second.

    Example: taktline keys revoke office
    """
    from pipeline.security import keys as files

    files.revoke(name, allowed)
    typer.echo(f"{name} is no longer allowed")


def key_table(keys: dict[str, bytes], title: str) -> ResultTable:
    """Shows public keys by their names."""
    table = ResultTable("name", Column("public key", left=True), title=title)
    for name, key in keys.items():
        table.add_row(name, key.decode())
    return table
