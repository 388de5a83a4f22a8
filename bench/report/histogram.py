"""Latencies in an HDR histogram, from a microsecond to an hour with three significant digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from engines.errors import DataError
from engines.extras import require

_LOWEST_NS, _HIGHEST_NS, _DIGITS = 1_000, 3_600_000_000_000, 3
QUANTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}

Percentiles = dict[str, float]


class LatencyHistogram:
    """Counts latencies in nanoseconds; results are in milliseconds.

    Args:
        values: initial latencies.

    Raises:
        TaktlineError: the package `hdrhistogram` is not installed.
    """

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._histogram = _import()(_LOWEST_NS, _HIGHEST_NS, _DIGITS)
        for value in values:
            self.record(value)

    def record(self, nanoseconds: int) -> None:
        """Counts a latency; one outside the histogram's range counts as the nearest end."""
        self._histogram.record_value(min(max(int(nanoseconds), _LOWEST_NS), _HIGHEST_NS))

    @property
    def count(self) -> int:
        """Number of latencies counted."""
        return int(self._histogram.get_total_count())

    def quantile(self, percent: float) -> float:
        """Returns a percentile of the latencies, in milliseconds; 0 if nothing was counted."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1e6 if self.count else 0.0

    def percentiles(self) -> Percentiles:
        """Returns `p50` to `p99_9`, `mean` and `max` in milliseconds."""
        found = {name: self.quantile(percent) for name, percent in QUANTILES.items()}
        mean = float(self._histogram.get_mean_value()) / 1e6 if self.count else 0.0
        return found | {"mean": mean, "max": self.quantile(100.0)}

    def variation(self) -> float:
        """Returns the coefficient of variation: standard deviation over mean."""
        return float(self._histogram.get_stddev() / self._histogram.get_mean_value()) if self.count else 0.0

    def bars(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Returns the distinct values, in milliseconds and ascending, and how often each occurs."""
        rows = [
            (step.value_iterated_to, step.count_added_in_this_iter_step)
            for step in self._histogram.get_recorded_iterator()
        ]
        return np.array([row[0] for row in rows], np.float64) / 1e6, np.array([row[1] for row in rows], np.int64)

    def encode(self) -> str:
        """Returns the histogram in HdrHistogram's compressed format, in base64."""
        return str(self._histogram.encode().decode("ascii"))

    def __reduce__(self) -> tuple[Callable[[str], Self], tuple[str]]:
        # The counts lie in C memory, which pickle cannot reach.
        return type(self).decode, (self.encode(),)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Reads what `encode` wrote.

        Raises:
            DataError: it is not a histogram.
        """
        histogram = cls()
        try:
            histogram._histogram.decode_and_add(text.encode("ascii"))
        except Exception as error:
            # The decoder passes on any exception of zlib, struct and base64.
            raise DataError(f"a histogram cannot be decoded ({error}); measure again") from error
        return histogram

    @classmethod
    def merged(cls, histograms: Iterable[LatencyHistogram]) -> Self:
        """Returns the sum of histograms."""
        total = cls()
        for histogram in histograms:
            if histogram.count:
                total._histogram.add(histogram._histogram)
        return total


def _import() -> Any:
    return require("hdrh.histogram", "bench").HdrHistogram
