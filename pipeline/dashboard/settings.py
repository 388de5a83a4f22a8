"""The dashboard's settings: what it watches, where it is bound, and who may enter. Read from TOML and checked."""

from __future__ import annotations

import difflib
import ipaddress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from engines.errors import ConfigError
from engines.validation import explain
from pipeline.config.section import Section
from pipeline.config.toml_file import read_toml
from pipeline.protocol.orders import control_address
from pipeline.protocol.sockets import MOST_PORT, check_address
from pipeline.protocol.topics import Name

Kind = TypeVar("Kind", bound=Section)

DEFAULT_BIND = "127.0.0.1:8080"


class Door(Section):
    """`[dashboard]`: where the page is, and who may enter.

    Attributes:
        bind: `HOST:PORT`.
        users: the password file, made with `taktline dashboard-user`; None lets everyone at this machine watch.
        certificate: for TLS, a PEM file.
        key: its private key, a PEM file.
        insecure: whether other machines may reach the page without TLS.
        names: further host names that browsers use for this machine.
    """

    bind: str = Field(default=DEFAULT_BIND, pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+):[0-9]{1,5}$")
    users: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    names: tuple[str, ...] = ()

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > MOST_PORT:
            raise ValueError(f"must be HOST:PORT with a port from 0 to {MOST_PORT}")
        return value

    @property
    def host(self) -> str:
        """The host of `bind`."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of `bind`."""
        return int(self.bind.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check(self) -> None:
        """Refuses a page that would be open to everyone.

        Raises:
            ConfigError: it would be, or certificate and key are not both given.
        """
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("certificate and key belong together: give both PEM files")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise ConfigError(f"there is no file {path}; give the PEM file of the dashboard's TLS")
        if self.is_local:
            return
        if self.users is None:
            raise ConfigError(
                f"a dashboard on {self.bind} would be open to everyone who reaches this machine; give a password file, "
                "made with: taktline dashboard-user FILE NAME --role operator"
            )
        if self.certificate is None and not self.insecure:
            raise ConfigError(
                f"a dashboard on {self.bind} without TLS would send passwords in the clear; give certificate and key, "
                "or accept that with insecure = true (--insecure)"
            )


class WatchedLine(Section):
    """`[[line]]`: a line to watch.

    Attributes:
        name: its name.
        control: where it takes orders and tells its status; `auto` for a line of this name on this machine, `none` for
            a line that the dashboard cannot ask.
        verdicts: where it publishes; None to take what its status says.
        replay: where it answers re-reads; None likewise.
        journal: its journal's file, if this machine can read it; None likewise.
        bundles: the folder with the bundles that may be deployed, as the line's machine sees it and this one too; None
            for the folder of the running bundle.
        key: the dashboard's secret key file, if the line uses CURVE.
        server_key: the line's public key, or the file that holds it.
    """

    name: Name
    control: str = "auto"
    verdicts: str | None = None
    replay: str | None = None
    journal: Path | None = None
    bundles: Path | None = None
    key: Path | None = None
    server_key: str | None = None

    @field_validator("verdicts", "replay")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        return None if value is None else check_address(value)

    @field_validator("control")
    @classmethod
    def _check_control(cls, value: str) -> str:
        return value if value in {"auto", "none"} else check_address(value)

    @property
    def control_address(self) -> str | None:
        """Where to ask the line for its status and give it orders; None where that is not possible."""
        if self.control == "none":
            return None
        return control_address(self.name) if self.control == "auto" else self.control


class DashboardConfig(Section):
    """A whole dashboard."""

    dashboard: Door = Door()
    line: tuple[WatchedLine, ...] = Field(min_length=1)

    @field_validator("line")
    @classmethod
    def _check_lines(cls, value: tuple[WatchedLine, ...]) -> tuple[WatchedLine, ...]:
        names = [line.name for line in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two lines are called '{name}'")
        for line in value:
            if line.control == "none" and line.verdicts is None:
                raise ValueError(f"the line '{line.name}' has control = \"none\", so its verdicts need an address")
            if (line.key is None) != (line.server_key is None):
                raise ValueError(f"the line '{line.name}' needs key and server_key together")
        return value


def read_dashboard_file(path: Path) -> DashboardConfig:
    """Reads a dashboard's file; paths in it are relative to its folder.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has an invalid setting.
    """
    values = read_toml(path, "dashboard file")
    config = check_dashboard(values, str(path))
    door = _anchored(config.dashboard, ("users", "certificate", "key"), path.parent)
    lines = tuple(_anchored_line(line, path.parent) for line in config.line)
    return config.model_copy(update={"dashboard": door, "line": lines})


def check_dashboard(values: dict[str, Any], where: str) -> DashboardConfig:
    """Checks a dashboard's settings.

    Args:
        values: the contents of a dashboard file.
        where: what to call them in an error.

    Raises:
        ConfigError: names the first error and, for an unknown key, the nearest known name.
    """
    try:
        return DashboardConfig.model_validate(values)
    except ValidationError as error:
        # An unknown name first: it is usually the reason why another is missing.
        first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        if first["type"] == "extra_forbidden":
            name = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
            known = _known(first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"the settings here are {', '.join(known)}"
            raise ConfigError(f"{where}: '{name}' is not a setting; {hint}") from error
        raise ConfigError(f"{where}: {explain(error)}") from error


def _known(location: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[Section]] = {"dashboard": Door, "line": WatchedLine}
    section = sections.get(str(location[0])) if location else None
    return list((section or DashboardConfig).model_fields)


def _anchored_line(line: WatchedLine, folder: Path) -> WatchedLine:
    found = _anchored(line, ("journal", "bundles", "key"), folder)
    # A public key may also stand here itself.
    if line.server_key is None or not (folder / line.server_key).is_file():
        return found
    return found.model_copy(update={"server_key": str(folder / line.server_key)})


def _anchored(section: Kind, names: tuple[str, ...], folder: Path) -> Kind:
    found = {name: getattr(section, name) for name in names}
    return section.model_copy(update={name: value and folder / value for name, value in found.items()})
