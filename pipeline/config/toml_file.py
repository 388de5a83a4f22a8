"""Reads a TOML file that a user wrote."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from engines.errors import ConfigError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Returns a file's values.

    Args:
        path: the file.
        what: what it is called in messages, such as `line file`.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the {what} {path} is not TOML: {error}") from error
