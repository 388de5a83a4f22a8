"""How long a batch takes from its closing to its verdicts, learned while the line runs."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

_REMEMBERED = 64
_QUANTILE = 0.9


class ServiceTime:
    """Running quantiles of the time that batches take, one for each size."""

    def __init__(self) -> None:
        self._times: dict[int, deque[int]] = {}
        self._expected: dict[int, int] = {}
        self._lock = threading.Lock()

    def note(self, size: int, nanoseconds: int) -> None:
        """Takes note of how long a batch of some size took."""
        with self._lock:
            times = self._times.setdefault(size, deque(maxlen=_REMEMBERED))
            times.append(nanoseconds)
            self._expected[size] = int(np.quantile(times, _QUANTILE))

    def expect(self, size: int) -> int:
        """Returns how many nanoseconds a batch of some size will probably take; 0 where nothing is known yet.

        A size that was not seen yet is judged by the nearest one that was: a larger batch takes longer in proportion,
        a smaller one no longer.
        """
        with self._lock:
            if size in self._expected:
                return self._expected[size]
            if not self._expected:
                return 0
            nearest = min(self._expected, key=lambda known: abs(known - size))
            return self._expected[nearest] * max(size, nearest) // nearest
