"""What engines keep on disk between runs: plans and compiled models. You can delete it at any time."""

from __future__ import annotations

import os
from pathlib import Path

from engines.errors import ConfigError
from engines.files import make_folder, save


def cache_folder(kind: str) -> Path:
    """Returns the folder for one kind of file, and creates it if needed.

    It lies in `TAKTLINE_CACHE` if that is set, otherwise in `taktline` under `XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        ConfigError: it cannot be made.
    """
    own = os.environ.get("TAKTLINE_CACHE")
    root = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taktline"
    folder = root / kind
    make_folder(folder, "set TAKTLINE_CACHE to a folder that can be written")
    return folder


def store(path: Path, content: bytes) -> None:
    """Writes a file in one step: it appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    save(path, content, "make room, or set TAKTLINE_CACHE", error=ConfigError)


def prune(folder: Path, most_bytes: int) -> None:
    """Removes the least recently used files until the folder holds at most `most_bytes`."""
    files = []
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                state = path.stat()
                files.append((max(state.st_atime, state.st_mtime), state.st_size, path))
        except OSError:
            continue
    held = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if held <= most_bytes:
            return
        path.unlink(missing_ok=True)
        held -= size
