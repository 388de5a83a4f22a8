"""Limits repeated warnings, so that a fault on every frame does not flood the log."""

from __future__ import annotations

import logging
import threading
import time


class RateLimitedLog:
    """Logs the first few warnings of an interval and counts the rest; the count follows in the next warning.

    Args:
        logger: where the warnings go.
        first: how many per interval are logged in full.
        every_s: length of an interval, in seconds.
    """

    def __init__(self, logger: logging.Logger, first: int = 3, every_s: float = 10.0) -> None:
        self._logger, self._first, self._every_ns = logger, first, round(every_s * 1e9)
        self._lock = threading.Lock()
        self._began: int | None = None
        self._logged = self._suppressed = 0

    def warning(self, message: str, *arguments: object, now: int | None = None) -> None:
        """Logs a warning, or counts it.

        Args:
            message: as for `logging.Logger.warning`.
            arguments: as for `logging.Logger.warning`.
            now: monotonic nanoseconds; None for the clock's.
        """
        now = time.monotonic_ns() if now is None else now
        with self._lock:
            suppressed = 0
            if self._began is None or now - self._began >= self._every_ns:
                self._began, self._logged = now, 0
                suppressed, self._suppressed = self._suppressed, 0
            log_it = self._logged < self._first
            self._logged += log_it
            self._suppressed += not log_it
        if suppressed:
            self._tell(suppressed)
        if log_it:
            self._logger.warning(message, *arguments)

    def flush(self) -> None:
        """Logs the count of suppressed warnings."""
        with self._lock:
            suppressed, self._suppressed = self._suppressed, 0
        if suppressed:
            self._tell(suppressed)

    def _tell(self, suppressed: int) -> None:
        self._logger.warning("%d more warnings of this kind were not logged", suppressed)
