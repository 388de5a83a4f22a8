"""Who may enter: a password file with a line for each user, and the three roles."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from engines.errors import ConfigError
from engines.files import save
from pipeline.security.keys import check_private

log = logging.getLogger(__name__)

LEAST_PASSWORD = 8
MOST_PASSWORD = 256
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_MOST_BYTES = 1 << 20
_HEAD = "# Users of the dashboard: name, role, argon2 hash. Written by `taktline dashboard-user`.\n"


class Role(IntEnum):
    """What a user may do; each role may do what the ones before it may."""

    viewer = 1
    """Sees everything and changes nothing."""
    operator = 2
    """Labels parts, pauses and resumes a line."""
    engineer = 3
    """Deploys bundles and changes thresholds."""


@dataclass(frozen=True)
class User:
    """A line of the password file."""

    name: str
    role: Role
    hashed: str


class PasswordFile:
    """The users in a password file. It is read again when it changes, so a removed user is out at once.

    Args:
        path: the file; only its owner may read it.

    Raises:
        ConfigError: it cannot be read, others may read it, or a line of it is not a user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._hasher = PasswordHasher()
        # A name that nobody has takes as long to refuse as a wrong password.
        self._nobody = self._hasher.hash("nobody has this password")
        self._stamp: tuple[int, int, int] | None = None
        self._users = self._read()

    def find(self, name: str) -> User | None:
        """Returns a user, or None if there is none of this name at this moment."""
        with self._lock:
            try:
                if self._stamp != self._state():
                    self._users = self._read()
            except ConfigError as error:
                # Nobody is let in by a file that cannot be read.
                if self._users:
                    log.error("%s; nobody can log in until it is mended", error)
                self._users = {}
            return self._users.get(name)

    def check(self, name: str, password: str) -> User | None:
        """Returns the user if the password is right; it takes about a twentieth of a second, and 64 MiB."""
        user = self.find(name)
        try:
            self._hasher.verify(self._nobody if user is None else user.hashed, password)
        except (VerificationError, InvalidHashError):
            return None
        return user

    def _state(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise ConfigError(f"the password file {self.path} cannot be read: {error.strerror or error}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, User]:
        self._stamp = self._state()
        check_private(self.path)
        return {user.name: user for user in read_users(self.path)}


def read_users(path: Path) -> list[User]:
    """Reads a password file.

    Raises:
        ConfigError: it cannot be read, or a line of it is not a user.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"the password file {path} cannot be read: {reason}") from error
    users = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        role, _, hashed = rest.partition(":")
        if not _NAME.fullmatch(name) or role not in Role.__members__ or not hashed.startswith("$argon2"):
            raise ConfigError(
                f"{path}, line {number}, is not NAME:ROLE:HASH; make users with: taktline dashboard-user FILE NAME"
            )
        users.append(User(name, Role[role], hashed.strip()))
    return users


def add_user(path: Path, name: str, role: Role, password: str) -> bool:
    """Adds a user, or gives one another role and password.

    Returns:
        Whether the user is new.

    Raises:
        ConfigError: the name or the password cannot be used, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot be a user; give up to 64 of the characters A-Z a-z 0-9 _ . @ -")
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ConfigError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters; give another")
    users = {user.name: user for user in read_users(path)} if path.exists() else {}
    new = name not in users
    users[name] = User(name, role, PasswordHasher().hash(password))
    _write(path, users)
    return new


def remove_user(path: Path, name: str) -> None:
    """Removes a user.

    Raises:
        ConfigError: there is none of this name, or the file cannot be read or written.
    """
    users = {user.name: user for user in read_users(path)}
    if name not in users:
        raise ConfigError(f"{path} has no user '{name}'; it has {', '.join(users) or 'none'}")
    del users[name]
    _write(path, users)


def _write(path: Path, users: dict[str, User]) -> None:
    lines = [f"{user.name}:{user.role.name}:{user.hashed}\n" for user in users.values()]
    save(path, _HEAD + "".join(lines), "give a file in a folder that exists", error=ConfigError, mode=0o600)
