"""A file is written whole or not at all, whatever fails."""

from __future__ import annotations

import resource
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.errors import DataError
from engines.files import exchange, replacing, save, write_atomic


@pytest.fixture
def full_disk() -> Iterator[int]:
    """No file of this process may grow beyond so many bytes: a write fails as on a full disk, with EFBIG."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    write_atomic(path, b"\0secret", mode=0o600)
    assert path.read_bytes() == b"\0secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, full_disk: int) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(OSError, match="File too large"):
        write_atomic(path, bytes(2 * full_disk))
    with pytest.raises(DataError, match=f"{path} cannot be written: File too large; give another path"):
        save(path, "x" * 2 * full_disk)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_an_error_in_the_block_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_missing_or_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "file", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "folder", "text")
    assert [found.name for found in tmp_path.iterdir()] == ["folder"]


def test_two_folders_are_swapped_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    missing: list[Exception] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                (tmp_path / "a" / "name").stat()
            except OSError as error:
                missing.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(501):
        exchange(tmp_path / "a", tmp_path / "b")
    over.set()
    looking.join()
    assert not missing
    assert (tmp_path / "a" / "name").read_text() == "b"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")
