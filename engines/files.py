"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engines.errors import DataError


def write_whole(path: Path, text: str) -> None:
    """Writes a text file that appears whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}; give another path") from error


def check_writable(path: Path) -> None:
    """Refuses a file that could not be written later, before the work is done for nothing.

    Raises:
        DataError: its folder does not exist or is not writable, or it is a folder itself.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise DataError(
            f"{path} cannot be written: there is no writable folder {path.parent}; make it, or give another"
        )
