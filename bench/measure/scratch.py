"""A temporary folder on the disk that is to be measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.errors import TaktlineError


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """Makes a folder and removes it at the end.

    Args:
        parent: the folder to make it in; None for the system's.

    Raises:
        TaktlineError: it cannot be made there.
    """
    try:
        place = tempfile.TemporaryDirectory(prefix="taktline-bench-", dir=parent)
    except OSError as error:
        raise TaktlineError(f"the folder {parent} cannot be written: {error.strerror}; give another one") from error
    with place as name:
        yield Path(name)
