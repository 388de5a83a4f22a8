"""The dashboard's settings: what it watches, where it is bound, and who may enter. Read from TOML and checked."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from engines.errors import ConfigError
from pipeline.config.lines_file import LinesFile, anchored, anchored_lines, check_lines
from pipeline.config.section import Section
from pipeline.config.toml_file import read_toml
from pipeline.protocol.sockets import MOST_PORT

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


class DashboardConfig(LinesFile):
    """A whole dashboard."""

    dashboard: Door = Door()


def read_dashboard_file(path: Path) -> DashboardConfig:
    """Reads a dashboard's file; paths in it are relative to its folder.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has an invalid setting.
    """
    values = read_toml(path, "dashboard file")
    config = check_dashboard(values, str(path))
    door = anchored(config.dashboard, ("users", "certificate", "key"), path.parent)
    return config.model_copy(update={"dashboard": door, "line": anchored_lines(config.line, path.parent)})


def check_dashboard(values: dict[str, Any], where: str) -> DashboardConfig:
    """Checks a dashboard's settings.

    Args:
        values: the contents of a dashboard file.
        where: what to call them in an error.

    Raises:
        ConfigError: names the first error and, for an unknown key, the nearest known name.
    """
    return check_lines(DashboardConfig, values, where, {"dashboard": Door})
