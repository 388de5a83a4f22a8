"""A file that names lines: where each is reached, and with which keys. Dashboard, fleet and bridges read the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from engines.errors import ConfigError
from engines.validation import explain
from pipeline.config.section import Section
from pipeline.config.toml_file import read_toml
from pipeline.config.unknown import unknown_setting
from pipeline.protocol.orders import control_address
from pipeline.protocol.sockets import check_address
from pipeline.protocol.topics import Name
from pipeline.security.curve import ClientKeys

Kind = TypeVar("Kind", bound=Section)
File = TypeVar("File", bound="LinesFile")


class KnownLine(Section):
    """`[[line]]`: a line, and how to reach it.

    Attributes:
        name: its name.
        control: where it takes orders and tells its status; `auto` for a line of this name on this machine, `none` for
            a line that cannot be asked.
        verdicts: where it publishes; None to take what its status says.
        replay: where it answers re-reads; None likewise.
        journal: its journal's file, if this machine can read it; None likewise.
        store: the address of a store that has its verdicts, for history where no journal can be read; None for none.
        bundles: the folder with the bundles that may be deployed, as the line's machine sees it and this one too; None
            for the folder of the running bundle.
        key: this program's secret key file, if the line uses CURVE.
        server_key: the line's public key, or the file that holds it.
    """

    name: Name
    control: str = "auto"
    verdicts: str | None = None
    replay: str | None = None
    journal: Path | None = None
    store: str | None = None
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

    def read_keys(self) -> ClientKeys | None:
        """Reads the keys for the line; None if it uses none.

        Raises:
            ConfigError: they cannot be used.
        """
        if self.key is None or self.server_key is None:
            return None
        return ClientKeys.read(self.key, self.server_key)


class LinesFile(Section):
    """A whole file.

    Attributes:
        dashboard: the dashboard's own table, which others leave alone.
        line: the lines.
    """

    dashboard: Any = None
    line: tuple[KnownLine, ...] = Field(min_length=1)

    @field_validator("line")
    @classmethod
    def _check_lines(cls, value: tuple[KnownLine, ...]) -> tuple[KnownLine, ...]:
        names = [line.name for line in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two lines are called '{name}'")
        for line in value:
            if line.control == "none" and line.verdicts is None:
                raise ValueError(f"the line '{line.name}' has control = \"none\", so its verdicts need an address")
            if line.journal is not None and line.store is not None:
                raise ValueError(f"the line '{line.name}' has its history from a journal or from a store; give one")
            if (line.key is None) != (line.server_key is None):
                raise ValueError(f"the line '{line.name}' needs key and server_key together")
        return value


def read_lines_file(path: Path, what: str) -> tuple[KnownLine, ...]:
    """Reads the lines of a file; paths in it are relative to its folder.

    Args:
        path: the file.
        what: what it is called in messages, such as `fleet file`.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has an invalid setting.
    """
    file = check_lines(LinesFile, read_toml(path, what), str(path), {})
    return anchored_lines(file.line, path.parent)


def check_lines(kind: type[File], values: dict[str, Any], where: str, tables: dict[str, type[Section]]) -> File:
    """Checks the settings of a file that names lines.

    Args:
        kind: what the file is.
        values: its contents.
        where: what to call them in an error.
        tables: its tables besides the lines.

    Raises:
        ConfigError: names the first error and, for an unknown key, the nearest known name.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        unknown = unknown_setting(error, kind, {**tables, "line": KnownLine})
        raise ConfigError(f"{where}: {unknown or explain(error)}") from error


def anchored_lines(lines: tuple[KnownLine, ...], folder: Path) -> tuple[KnownLine, ...]:
    """Returns lines whose relative paths begin at a folder."""
    return tuple(_anchored_line(line, folder) for line in lines)


def anchored(section: Kind, names: tuple[str, ...], folder: Path) -> Kind:
    """Returns a table in which some paths, if they are relative, begin at a folder."""
    found = {name: getattr(section, name) for name in names}
    return section.model_copy(update={name: value and folder / value for name, value in found.items()})


def _anchored_line(line: KnownLine, folder: Path) -> KnownLine:
    found = anchored(line, ("journal", "bundles", "key"), folder)
    # A public key may also stand here itself.
    if line.server_key is None or not (folder / line.server_key).is_file():
        return found
    return found.model_copy(update={"server_key": str(folder / line.server_key)})
