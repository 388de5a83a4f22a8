"""Keys on disk: a line's own, its clients', and the folder of allowed clients."""

from __future__ import annotations

import datetime
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import load_certificate

from engines.errors import ConfigError
from engines.files import make_folder, save

log = logging.getLogger(__name__)

PUBLIC, SECRET = ".key", ".key_secret"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(rb"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MOST_BYTES = 64 << 10
_FIX = "give a folder that you can write to, on a disk with room"


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, in ZeroMQ's printed form (Z85, 40 characters each)."""

    public: bytes
    secret: bytes = field(repr=False)


def new_pair(name: str, folder: Path) -> KeyPair:
    """Makes a key pair: `NAME.key` to hand out, and `NAME.key_secret`, which only its owner may read.

    Raises:
        ConfigError: the name is invalid or taken, or the files cannot be written.
    """
    check_name(name)
    secret_file, public_file = folder / f"{name}{SECRET}", folder / f"{name}{PUBLIC}"
    for path in (secret_file, public_file):
        if path.exists():
            raise ConfigError(f"{path} already exists; give another name, or remove it if nobody uses it")
    public, secret = zmq.curve_keypair()
    make_folder(folder, _FIX)
    save(secret_file, _certificate(public, secret), _FIX, error=ConfigError, mode=0o600)
    save(public_file, _certificate(public), _FIX, error=ConfigError)
    return KeyPair(public, secret)


def read_pair(path: Path) -> KeyPair:
    """Reads a secret key file.

    Raises:
        ConfigError: it is not a secret key file, or others may read it.
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
        raise ConfigError(f"the two keys in {path} are not a pair; make new ones with: taktline keys new NAME")
    return KeyPair(public, secret)


def read_public(key: str) -> bytes:
    """Returns a public key, given as its 40 characters or as the file that holds it.

    Raises:
        ConfigError: it is neither.
    """
    printed = key.encode()
    return printed if _is_key(printed) and not Path(key).exists() else _load(Path(key))[0]


def check_private(path: Path) -> None:
    """Refuses a secret file that others may read.

    Raises:
        ConfigError: others may read it, or it cannot be read at all.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read the secret in {path}; protect it with: chmod 600 {path}")


def read_secret(path: Path) -> str:
    """Reads a password or token from the first line of a file that only its owner may read.

    Raises:
        ConfigError: others may read it, or its first line is empty.
    """
    check_private(path)
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.readline(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not secret:
        raise ConfigError(f"the first line of {path} is empty; write the secret there")
    return secret


def check_name(name: str) -> None:
    """Refuses an invalid name for a key.

    Raises:
        ConfigError: it has other characters, or is too long.
    """
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise ConfigError(
            f"'{name}' is not a valid name for a key; use up to 64 letters, digits, '-', '_' and dots (not first)"
        )


def allow(name: str, public: bytes, allowed: Path) -> Path:
    """Admits a client by putting its public key into the folder of allowed clients.

    Raises:
        ConfigError: another key is allowed under this name, or the folder cannot be written.
    """
    check_name(name)
    path = allowed / f"{name}{PUBLIC}"
    if path.exists() and _load(path)[0] != public:
        raise ConfigError(f"another key is already allowed as '{name}'; revoke it first, or give another name")
    make_folder(allowed, _FIX)
    save(path, _certificate(public), _FIX, error=ConfigError)
    return path


def revoke(name: str, allowed: Path) -> None:
    """Removes a client from the list; running lines notice within a second.

    Raises:
        ConfigError: no client of that name is on the list, or the folder cannot be written.
    """
    check_name(name)
    path = allowed / f"{name}{PUBLIC}"
    try:
        path.unlink()
    except FileNotFoundError as error:
        known = ", ".join(sorted(read_allowed(allowed)))
        listed = f"on the list: {known}" if known else "the list is empty"
        raise ConfigError(f"no client named '{name}' is on the list in {allowed}; {listed}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed: {error.strerror or error}") from error


def read_allowed(allowed: Path) -> dict[str, bytes]:
    """Returns the public keys in a folder by name; logs a warning for each file without a key."""
    found = {}
    for path in sorted(allowed.glob(f"*{PUBLIC}")):
        try:
            found[path.name.removesuffix(PUBLIC)] = _load(path)[0]
        except ConfigError as error:
            log.warning("%s; this file admits nobody", error)
    return found


class AllowList:
    """The folder of allowed clients, read again whenever it changes. For one thread.

    A folder that cannot be read admits nobody.

    Attributes:
        folder: the folder.

    Raises:
        ConfigError: the folder does not exist at the start.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(
                f"the folder of allowed clients {folder} does not exist; create it, or allow a first client with: "
                f"taktline keys allow KEY --allowed {folder}"
            )
        self.folder = folder
        self._seen: tuple[tuple[str, int, int, int], ...] | None = None
        self._keys: frozenset[bytes] = frozenset()

    def keys(self) -> frozenset[bytes]:
        """Returns the public keys of the allowed clients."""
        try:
            seen = tuple(self._look())
        except OSError as error:
            if self._seen is not None:
                log.error(
                    "the folder of allowed clients %s cannot be read (%s): nobody is admitted", self.folder, error
                )
            self._seen, self._keys = None, frozenset()
            return self._keys
        if seen != self._seen:
            self._seen, self._keys = seen, frozenset(read_allowed(self.folder).values())
        return self._keys

    def _look(self) -> Iterator[tuple[str, int, int, int]]:
        with os.scandir(self.folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                # A file may vanish at any time, when its client is revoked.
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
        raise ConfigError(f"{path} is not a key file; make one with: taktline keys new NAME") from error
    if not all(_is_key(key) for key in (public, secret) if key is not None):
        raise ConfigError(f"the key in {path} is damaged; make a new one with: taktline keys new NAME")
    return public, secret


def _is_key(text: bytes) -> bool:
    return _KEY.fullmatch(text) is not None


def _certificate(public: bytes, secret: bytes | None = None) -> bytes:
    """Returns a key file's text, in the format of ZeroMQ's own tools."""
    kind = "SECRET: keep it to yourself" if secret else "public: hand it out"
    lines = [f"#   CURVE key, {kind}. Made by Taktline on {datetime.date.today().isoformat()}.", "metadata", "curve"]
    lines.append(f'    public-key = "{public.decode()}"')
    if secret:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return ("\n".join(lines) + "\n").encode()
