"""A bridge: delivers a line's verdicts to another system, each at least once, and remembers its position."""

from __future__ import annotations

import json
import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from engines.files import save
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.verdict import Verdict, VersionError, WireError

log = logging.getLogger(__name__)

_STORE_VERSION = 1
_MOST_STORED_BYTES = 4 << 20
_TICK_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0


class Unreachable(TaktlineError):
    """A destination takes no verdicts now; the bridge will try again.

    Attributes:
        retry_s: the pause that the destination asked for, in seconds; None if it asked for none.
    """

    def __init__(self, why: str, retry_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_s = retry_s


class Destination(Closing):
    """Where a bridge delivers verdicts.

    Attributes:
        together: the most verdicts that it takes at once.
    """

    together = 100

    @abstractmethod
    def deliver(self, verdicts: Sequence[Verdict], stop: threading.Event) -> None:
        """Delivers verdicts in order, and returns once all have arrived.

        Raises:
            Unreachable: not all have arrived, or `stop` was set; all of them will be delivered again.
        """

    def tick(self, silent_s: float) -> None:
        """Called about twice a second between deliveries, with the seconds since the line's last verdict."""

    def mark(self) -> Any:
        """Returns what to pass to `resume` if the bridge restarts after this delivery."""
        return None

    def resume(self, mark: Any) -> None:
        """Called before the first delivery with what `mark` returned last, or None on the very first start."""


@dataclass(frozen=True)
class Stored:
    """How far a bridge got.

    Attributes:
        position: the subscriber's position after the last delivered verdict.
        mark: the destination's mark.
    """

    position: Any
    mark: Any


class PositionFile:
    """The file that stores how far a bridge got."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Stored | None:
        """Returns what was stored last; None if there is no file yet.

        Raises:
            ConfigError: the file cannot be read, or no bridge wrote it.
        """
        try:
            if self._path.stat().st_size > _MOST_STORED_BYTES:
                raise ValueError("it is too long")
            values = json.loads(self._path.read_bytes())
            if not isinstance(values, dict) or values.get("v") != _STORE_VERSION:
                raise ValueError("it has another version")
            return Stored(values["position"], values["mark"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"{self._path} does not hold a bridge's position ({error}); give another file with --position, or "
                "remove this one to start over"
            ) from error

    def write(self, stored: Stored) -> None:
        """Stores a position in one step: after a crash the file holds either the new or the old one.

        Raises:
            ConfigError: it cannot be written.
        """
        values = {"v": _STORE_VERSION, "position": stored.position, "mark": stored.mark}
        save(self._path, json.dumps(values), "make room, or give another --position", error=ConfigError, mode=0o600)


class Bridge:
    """Delivers what a subscriber receives to a destination, and stores the position only after that.

    If the bridge or the destination dies in between, some verdicts arrive twice, but none is lost, provided that the
    line has a journal and the subscriber uses its replay.
    """

    def __init__(self, subscriber: VerdictSubscriber, destination: Destination, store: PositionFile) -> None:
        self._subscriber, self._destination, self._store = subscriber, destination, store
        self._heard = time.monotonic()
        self.delivered = 0

    def run(self, stop: threading.Event) -> None:
        """Delivers verdicts until `stop` is set.

        Raises:
            VersionError: the line uses another schema version.
            ConfigError: the position cannot be stored.
        """
        while not stop.is_set():
            verdicts = self._collect(stop)
            if verdicts:
                if not insist(partial(self._destination.deliver, verdicts, stop), stop):
                    return
                self._store.write(Stored(self._subscriber.position, self._destination.mark()))
                self.delivered += len(verdicts)
            self._destination.tick(time.monotonic() - self._heard)

    def _collect(self, stop: threading.Event) -> list[Verdict]:
        """Waits a moment for a verdict, then takes all that have already arrived."""
        verdicts: list[Verdict] = []
        while len(verdicts) < self._destination.together and not stop.is_set():
            try:
                verdicts.append(self._subscriber.receive(0 if verdicts else _TICK_S)[0])
            except TimeoutError:
                break
            except VersionError:
                raise
            except WireError as error:
                log.warning("skipped a message: %s", error)
        if verdicts:
            self._heard = time.monotonic()
        return verdicts


def insist(attempt: Callable[[], None], stop: threading.Event) -> bool:
    """Tries again, with growing pauses, until a delivery succeeds; returns False if it was stopped instead.

    Args:
        attempt: delivers, or raises `Unreachable`.
        stop: ends the wait.
    """
    pause = _FIRST_PAUSE_S
    while not stop.is_set():
        try:
            attempt()
            return True
        except Unreachable as error:
            if stop.is_set():
                break
            wait = min(max(pause, error.retry_s or 0.0), _LONGEST_PAUSE_S)
            log.warning("%s; trying again in %.1f s", error, wait)
            stop.wait(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
    return False


def verdict_json(verdict: Verdict) -> bytes:
    """Returns a verdict as a bridge writes it: one JSON object with the body's keys, without the heatmap."""
    return json.dumps(verdict.to_json(), separators=(",", ":")).encode()


def idempotency_key(verdict: Verdict) -> str:
    """Returns the key by which a receiver recognises a repeated verdict."""
    return f"{verdict.line}/{verdict.camera}/{verdict.epoch}/{verdict.sequence}"
