"""`taktline dashboard` and `taktline dashboard-user`: a web page that watches lines, and who may enter."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from engines.errors import ConfigError
from engines.extras import require
from taktline.cli.console import show, stderr
from taktline.cli.options import KeyOption, ServerKeyOption
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from pipeline.dashboard.settings import DashboardConfig

_NICENESS = 5
_ROLES = ("viewer", "operator", "engineer")


def dashboard(
    file: Annotated[Path | None, typer.Argument(help="Dashboard file (TOML), for several lines.")] = None,
    line: Annotated[str | None, typer.Option(help="A line on this machine, by its name.")] = None,
    bind: Annotated[str | None, typer.Option(help="HOST:PORT of the page. Default: 127.0.0.1:8080.")] = None,
    users: Annotated[Path | None, typer.Option(help="Password file, made with `taktline dashboard-user`.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file with the certificate, for TLS.")] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="PEM file with its private key.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines in without TLS.")] = False,
    bundles: Annotated[Path | None, typer.Option(help="Folder with the bundles that may be deployed.")] = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
) -> None:
    """Watch lines in the browser: pictures, heatmaps, verdicts, history.

    Example: taktline dashboard --line press4
    """
    for package in ("nicegui", "argon2"):
        require(package, "dashboard")
    from pipeline.dashboard.server import Dashboard

    door = {
        "bind": bind, "users": users, "certificate": certificate, "key": certificate_key,
        "insecure": insecure or None,
    }  # fmt: skip
    given = {name: value for name, value in door.items() if value is not None}
    watched = {"bundles": bundles, "key": key, "server_key": server_key}
    config = _config(file, line, given, {name: value for name, value in watched.items() if value is not None})
    with Dashboard(config) as page, on_signals(page.stop):
        # A line on this machine goes first.
        os.nice(_NICENESS)
        page.run(lambda: _announce(page.entry, config))


def dashboard_user(
    file: Annotated[Path, typer.Argument(help="Password file; it is made if it does not exist.")],
    name: Annotated[str, typer.Argument(help="The user's name.")],
    role: Annotated[str, typer.Option(help="viewer sees, operator labels and pauses, engineer deploys.")] = "viewer",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the user instead.")] = False,
) -> None:
    """Add, change or remove a user of the dashboard. The password is asked for, or read from a pipe.

    Example: taktline dashboard-user users.passwd anna --role operator
    """
    require("argon2", "dashboard")
    from pipeline.dashboard.users import Role, add_user, remove_user

    if remove:
        remove_user(file, name)
        show(f"{escape(name)} is removed from {escape(str(file))}")
        return
    if role not in _ROLES:
        raise ConfigError(f"there is no role '{role}'; give {', '.join(_ROLES[:-1])} or {_ROLES[-1]}")
    new = add_user(file, name, Role[role], _password())
    show(f"{escape(name)} is {'a new' if new else 'now a'} user of {escape(str(file))}: {role}")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _config(file: Path | None, line: str | None, door: dict[str, Any], watched: dict[str, Any]) -> DashboardConfig:
    from pipeline.dashboard.settings import check_dashboard, read_dashboard_file

    if (file is None) == (line is None):
        raise ConfigError("give either a dashboard file or --line NAME")
    if file is None:
        return check_dashboard({"dashboard": door, "line": [{"name": line} | watched]}, "the command line")
    if watched:
        raise ConfigError("keys and bundles belong under [[line]] in the dashboard file")
    config = read_dashboard_file(file)
    checked = check_dashboard({"dashboard": config.dashboard.model_dump() | door, "line": config.line}, str(file))
    return config.model_copy(update={"dashboard": checked.dashboard})


def _announce(entry: str, config: DashboardConfig) -> None:
    names = ", ".join(line.name for line in config.line)
    stderr().print(f"the dashboard of [bold]{escape(names)}[/] is running; open {escape(entry)}")
    door = config.dashboard
    if door.users is None:
        stderr().print(
            "whoever opens this address may give orders; without its key, everyone at this machine may watch"
        )
    elif not door.is_local and door.certificate is None:
        stderr().print(
            "[yellow]insecure = true: passwords and pictures cross the network in the clear; everyone on it can read "
            "them[/]"
        )
