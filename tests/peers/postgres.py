"""A real PostgreSQL server in a folder of its own, which can be killed and comes back with what it had."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from engines.closing import Closing

_PROGRAMS = Path("/usr/lib/postgresql")
_SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "32MB", "max_connections": 20,
    "autovacuum": "off", "lc_messages": "C",
}  # fmt: skip


class Postgres(Closing):
    """A server on a free port, with the user `postgres` and no password.

    It refuses to run as root; there it runs as the system's user `postgres` or `nobody`.

    Args:
        **settings: of the server, besides what every test wants.
    """

    def __init__(self, **settings: object) -> None:
        self._programs = _newest()
        self._as: dict[str, Any] = {}
        # Not in a test's own folder, which that user could not enter.
        self._folder = Path(tempfile.mkdtemp(prefix="taktline-postgres-"))
        if os.getuid() == 0:
            user = _user()
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._settings = _SETTINGS | settings
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale",
                  "--no-sync", "--no-instructions")  # fmt: skip

    @property
    def url(self) -> str:
        """The address of its one database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        deadline = time.monotonic() + 60
        while True:
            if self._process is None or self._process.poll() is not None:
                self._launch()
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                # After a kill, it gives up as long as the kernel still counts its memory as in use.
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """Kills the server and all its processes with SIGKILL."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self._process.pid)
            for process in (found, *found.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(30)
        self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops all its processes: connections stay open, and nobody answers."""
        assert self._process is not None
        found = psutil.Process(self._process.pid)
        processes = [found, *found.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Carries out a statement and returns its rows, if it has any."""
        with psycopg.connect(self.url, autocommit=True, options="-csearch_path=taktline") as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def close(self) -> None:
        """Kills it and removes its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _launch(self) -> None:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port), *options]
        with self._log.open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, **self._as
            )
        self._process = process

    def _run(self, program: str, *arguments: object) -> None:
        words = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self._folder, **self._as)
        assert done.returncode == 0, done.stderr


def _newest() -> Path:
    found = sorted(_PROGRAMS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("no PostgreSQL server; install the package 'postgresql' to run this test")
    return found[-1].parent


def _user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("no user 'postgres' or 'nobody' as whom PostgreSQL may run; run the tests as another than root")
