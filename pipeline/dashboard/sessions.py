"""Who is logged in, on the server's side: a browser holds nothing but a random token."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from engines.errors import TaktlineError
from pipeline.dashboard.users import PasswordFile, Role

_IDLE_S = 12 * 3600.0
_LONGEST_S = 30 * 24 * 3600.0
_MOST_SESSIONS = 1000
_MOST_REMEMBERED = 1000
# An address waits up to a minute. A name waits less, or anyone could keep its owner out.
_FREE_ATTEMPTS, _FIRST_WAIT_S, _MOST_WAIT_S, _MOST_NAME_WAIT_S = 3, 1.0, 60.0, 5.0

Clock = Callable[[], float]


class Forbidden(TaktlineError):
    """Whoever asked may not do this."""


@dataclass
class Session:
    """One log-in.

    Attributes:
        name: the user's name; for everyone at this machine, `local`.
        csrf: what a form of this session must send back.
        granted: the role of a session without a user in the password file.
        began: monotonic seconds.
        used: likewise, of the last request.
        ended: whether the user logged out.
    """

    name: str
    granted: Role | None
    began: float
    used: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    ended: bool = False


class Sessions:
    """All log-ins. Safe to use from any thread.

    Args:
        users: the password file; None lets everyone at this machine watch, and whoever knows `entry_key` act.
        clock: monotonic seconds.

    Attributes:
        entry_key: opens a session with all rights where there is no password file.
        everyone: the session of everyone at this machine where there is no password file; it never ends.
    """

    def __init__(self, users: PasswordFile | None, clock: Clock = time.monotonic) -> None:
        self.users, self.entry_key = users, secrets.token_urlsafe(24)
        self._clock, self._lock = clock, threading.Lock()
        forever = float("inf")
        self.everyone = Session("local", Role.viewer, forever, forever) if users is None else None
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def find(self, token: str | None) -> Session | None:
        """Returns the session of a browser's token; None if it has none, or it has ended."""
        if not token:
            return None
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_digest(token))
            if session is None or not self._is_alive(session, now):
                return None
            session.used = now
            return session

    def role(self, session: Session) -> Role | None:
        """Returns what a session may do at this moment; None once it has ended or its user is gone."""
        with self._lock:
            if not self._is_alive(session, self._clock()):
                return None
        if session.granted is not None or self.users is None:
            return session.granted
        user = self.users.find(session.name)
        return None if user is None else user.role

    def require(self, session: Session, least: Role) -> None:
        """Checks that a session may do something now.

        Raises:
            Forbidden: it may not.
        """
        role = self.role(session)
        if role is None:
            raise Forbidden("you are logged out; log in again")
        if role < least:
            raise Forbidden(f"this needs the role {least.name}, and {session.name} is {role.name}")

    def begin(self, name: str, granted: Role | None = None) -> str:
        """Begins a session and returns its token."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            for key in [key for key, found in self._sessions.items() if not self._is_alive(found, now)]:
                del self._sessions[key]
            while len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.popitem(last=False)[1].ended = True
            self._sessions[_digest(token)] = Session(name, granted, now, now)
        return token

    def end(self, session: Session) -> None:
        """Ends a session."""
        with self._lock:
            session.ended = True

    def touch(self, session: Session) -> None:
        """Notes that a session's page is open, so that a wall screen is not logged out."""
        session.used = max(session.used, self._clock())

    def is_entry_key(self, key: str) -> bool:
        """Returns whether a key opens a session with all rights."""
        return self.users is None and secrets.compare_digest(key.encode(), self.entry_key.encode())

    def _is_alive(self, session: Session, now: float) -> bool:
        return not session.ended and now - session.used < _IDLE_S and now - session.began < _LONGEST_S


class Throttle:
    """Slows down whoever guesses passwords, by address and by name. Safe to use from any thread."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str, name: str) -> float:
        """Returns how many seconds must pass before the next attempt."""
        now = self._clock()
        with self._lock:
            return max(
                self._left(f"from {address}", _MOST_WAIT_S, now), self._left(f"as {name}", _MOST_NAME_WAIT_S, now), 0.0
            )

    def failed(self, address: str, name: str) -> None:
        """Counts a wrong password."""
        now = self._clock()
        with self._lock:
            for key in (f"from {address}", f"as {name}"):
                count = self._failures.pop(key, (0, 0.0))[0]
                self._failures[key] = (count + 1, now)
            while len(self._failures) > _MOST_REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """Forgets the failures before a right password."""
        with self._lock:
            self._failures.pop(f"from {address}", None)
            self._failures.pop(f"as {name}", None)

    def _left(self, key: str, most: float, now: float) -> float:
        count, since = self._failures.get(key, (0, 0.0))
        if count < _FREE_ATTEMPTS:
            return 0.0
        wait = min(_FIRST_WAIT_S * 2.0 ** min(count - _FREE_ATTEMPTS, 30), most)
        return since + wait - now


def _digest(token: str) -> str:
    # A lookup by hash tells nothing about the token by its timing.
    return hashlib.sha256(token.encode()).hexdigest()
