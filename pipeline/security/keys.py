"""Keys on disk: who a line is, who its clients are, and whom it lets in."""

from __future__ import annotations

import datetime
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import load_certificate

from engines.errors import ConfigError

log = logging.getLogger(__name__)

PUBLIC, SECRET = ".key", ".key_secret"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(rb"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, in ZeroMQ's printed form (Z85, 40 characters each)."""

    public: bytes
    secret: bytes = field(repr=False)


def new_pair(name: str, folder: Path) -> KeyPair:
    """Makes a key pair: `NAME.key`, to be handed out, and `NAME.key_secret`, which only its user may read.

    Raises:
        ConfigError: the name cannot be used, is taken, or the files cannot be written.
    """
    check_name(name)
    secret_file, public_file = folder / f"{name}{SECRET}", folder / f"{name}{PUBLIC}"
    for path in (secret_file, public_file):
        if path.exists():
            raise ConfigError(f"{path} exists already; give another name, or remove it where nobody uses it any more")
    public, secret = zmq.curve_keypair()
    _make_folder(folder)
    _write(secret_file, _certificate(public, secret), 0o600)
    _write(public_file, _certificate(public), 0o644)
    return KeyPair(public, secret)


def read_pair(path: Path) -> KeyPair:
    """Reads a secret key file.

    Raises:
        ConfigError: it is none, or others may read it.
    """
    check_private(path)
    public, secret = _load(path)
    if secret is None:
        raise ConfigError(f"{path} has no secret key; give the file that ends in {SECRET}")
    try:
        belongs = zmq.curve_public(secret) == public
    except (zmq.ZMQError, ValueError):
        belongs = False
    if not belongs:
        raise ConfigError(f"the two keys in {path} are no pair; make new ones with: taktline keys new NAME")
    return KeyPair(public, secret)


def read_public(key: str) -> bytes:
    """Returns a public key that is given as its 40 characters, or as a file that has it.

    Raises:
        ConfigError: it is neither.
    """
    printed = key.encode()
    return printed if _is_key(printed) and not Path(key).exists() else _load(Path(key))[0]


def check_private(path: Path) -> None:
    """Refuses a file with a secret that others than its user may read.

    Raises:
        ConfigError: they may, or it cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read the secret in {path}; forbid it with: chmod 600 {path}")


def read_secret(path: Path) -> str:
    """Reads a password or token from the first line of a file that only its user may read.

    Raises:
        ConfigError: others may read it, or there is nothing in it.
    """
    check_private(path)
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.readline(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not secret:
        raise ConfigError(f"there is no secret in the first line of {path}")
    return secret


def check_name(name: str) -> None:
    """Refuses what is no name of a key.

    Raises:
        ConfigError: it has other characters, or is too long.
    """
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise ConfigError(f"'{name}' is no name of a key; give up to 64 letters, digits, dots, '-' and '_'")


def allow(name: str, public: bytes, allowed: Path) -> Path:
    """Lets a client in from now on: its public key goes into the folder of those allowed.

    Raises:
        ConfigError: another key is allowed under this name, or the folder cannot be written.
    """
    check_name(name)
    path = allowed / f"{name}{PUBLIC}"
    if path.exists() and _load(path)[0] != public:
        raise ConfigError(f"another key is allowed as '{name}'; revoke it first, or give another name")
    _make_folder(allowed)
    _write(path, _certificate(public), 0o644)
    return path


def revoke(name: str, allowed: Path) -> None:
    """Lets a client in no more; running lines notice within a second.

    Raises:
        ConfigError: no such client is allowed, or the folder cannot be written.
    """
    check_name(name)
    path = allowed / f"{name}{PUBLIC}"
    try:
        path.unlink()
    except FileNotFoundError as error:
        known = ", ".join(sorted(read_allowed(allowed)))
        listed = f"the clients there are: {known}" if known else "there are no clients in it"
        raise ConfigError(f"there is no client '{name}' to revoke in {allowed}; {listed}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed: {error.strerror or error}") from error


def read_allowed(allowed: Path) -> dict[str, bytes]:
    """Returns the public keys in a folder, by their names; a file that holds none lets nobody in and is told of."""
    found = {}
    for path in sorted(allowed.glob(f"*{PUBLIC}")):
        try:
            found[path.name.removesuffix(PUBLIC)] = _load(path)[0]
        except ConfigError as error:
            log.warning("%s; it lets nobody in", error)
    return found


class AllowList:
    """The folder of clients that may come in, as it is now: it is read again whenever it changes.

    A folder that cannot be read lets nobody in. For one thread.

    Attributes:
        folder: where it is.

    Raises:
        ConfigError: the folder is not there at the start.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(
                f"the folder of allowed clients {folder} is not there; make it, or let a first client in with: "
                f"taktline keys allow KEY --allowed {folder}"
            )
        self.folder = folder
        self._seen: tuple[tuple[str, int, int, int], ...] | None = None
        self._keys: frozenset[bytes] = frozenset()

    def keys(self) -> frozenset[bytes]:
        """Returns the public keys of those who may come in."""
        try:
            seen = tuple(self._look())
        except OSError as error:
            if self._seen is not None:
                log.error("the folder of allowed clients %s cannot be read (%s); nobody gets in", self.folder, error)
            self._seen, self._keys = None, frozenset()
            return self._keys
        if seen != self._seen:
            self._seen, self._keys = seen, frozenset(read_allowed(self.folder).values())
        return self._keys

    def _look(self) -> Iterator[tuple[str, int, int, int]]:
        with os.scandir(self.folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                # One that has just been revoked may be gone by now.
                with suppress(FileNotFoundError):
                    if entry.name.endswith(PUBLIC):
                        found = entry.stat()
                        yield entry.name, found.st_ino, found.st_mtime_ns, found.st_size


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too long")
        public, secret = load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no file with a key; make one with: taktline keys new NAME") from error
    if not all(_is_key(key) for key in (public, secret) if key is not None):
        raise ConfigError(f"the key in {path} is damaged; make a new one with: taktline keys new NAME")
    return public, secret


def _is_key(text: bytes) -> bool:
    return _KEY.fullmatch(text) is not None


def _certificate(public: bytes, secret: bytes | None = None) -> bytes:
    """The text that ZeroMQ's own tools write and read."""
    kind = "SECRET: keep it to yourself" if secret else "public: hand it out"
    lines = [f"#   CURVE key, {kind}. Made by Taktline on {datetime.date.today().isoformat()}.", "metadata", "curve"]
    lines.append(f'    public-key = "{public.decode()}"')
    if secret:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return ("\n".join(lines) + "\n").encode()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made: {error.strerror or error}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        # Nobody else may read it, not even for the moment before it has its name.
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
