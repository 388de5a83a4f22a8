"""What tests of the pipeline share: a small bundle, and a disk that can be filled."""

from __future__ import annotations

import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture
def gige_port() -> Iterator[None]:
    """Keeps the port of GigE cameras to one test: a second fake camera binds it too, and takes orders of the first."""
    with FileLock(Path(tempfile.gettempdir()) / "taktline-tests-gige.lock"):
        yield


class SmallDisk:
    """A disk that can be filled and freed: a tmpfs where it may be mounted, else this process's limit for files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, self._limits[1]))
            return
        with (self.folder / "filler").open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        self.free()
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


class FrozenDisk:
    """A real disk of its own, on which every write hangs while it is frozen."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._image = folder, folder.with_suffix(".img")
        folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(16 << 20)
        self._frozen = False

    def mount(self) -> bool:
        """Returns whether this process may mount disks and freeze them."""
        commands = (["mkfs.ext4", "-q", str(self._image)], ["mount", "-o", "loop", str(self._image), str(self.folder)])
        try:
            return all(
                subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands
            )
        except FileNotFoundError:
            return False

    def freeze(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", str(self.folder)], check=True)
        self._frozen = True

    def thaw(self) -> None:
        if self._frozen:
            subprocess.run(["fsfreeze", "--unfreeze", str(self.folder)], check=True)
        self._frozen = False

    def close(self) -> None:
        self.thaw()
        # Lazily: a thread that hung on it may still be at work.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[FrozenDisk]:
    disk = FrozenDisk(tmp_path / "frozen")
    if not disk.mount():
        pytest.skip("no disk can be mounted here; run this test as root, with e2fsprogs and util-linux installed")
    yield disk
    disk.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()


@pytest.fixture(scope="session")
def bundle_path(small_bundle_path: Path) -> Path:
    """The small bundle takes the usual one's place: these tests ask what happens to frames."""
    return small_bundle_path
