"""Compares two files of results: ratios and their confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.report.results import Results, Run
from bench.report.windows import Window
from engines.errors import ConfigError, DataError

_RESAMPLES = 2000
_LEAST_WINDOWS = 3
_QUANTILES = {"p50_ms": ("p50", 0.5), "p99_ms": ("p99", 0.99)}


@dataclass(frozen=True)
class Change:
    """How a figure of a run has changed.

    Attributes:
        run: name of the run.
        figure: `images_per_s`, `p50_ms` or `p99_ms`.
        old: the old value.
        new: the new value.
        ratio: new over old.
        interval: 95 % interval of the ratio; None if there are fewer than three windows.
        worse: whether it got worse by more than allowed, and significantly.
    """

    run: str
    figure: str
    old: float
    new: float
    ratio: float
    interval: tuple[float, float] | None
    worse: bool

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as plain values."""
        return asdict(self)


def read_share(text: str) -> float:
    """Reads `10%` or `0.1`.

    Raises:
        ConfigError: it is neither.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a share; give one like 10%") from error
    if not 0 <= share < float("inf"):
        raise ConfigError(f"'{text}' is not a share; give 0% or more")
    return share


def compare_results(old: Results, new: Results, allowed: float, seed: int = 0) -> list[Change]:
    """Compares the runs that both files have.

    A lower throughput or a higher latency is worse. A change counts as worse only if it exceeds the allowed share and
    its interval lies entirely on the worse side, so that noise alone is not a failure.

    Args:
        old: the results before.
        new: the results after.
        allowed: share by which a figure may get worse.
        seed: seed for resampling.

    Raises:
        DataError: they have no run in common.
    """
    runs = {run.name: run for run in old.runs}
    pairs = [(runs[run.name], run) for run in new.runs if run.name in runs]
    if not pairs:
        raise DataError("the two files have no run in common; measure both with the same settings")
    rng = np.random.default_rng(seed)
    changes = []
    for before, after in pairs:
        changes += _compare(before, after, allowed, rng)
    return changes


def differences(old: Results, new: Results) -> list[str]:
    """Lists, in one sentence each, what differs between two files besides the code."""
    found = []
    for name in ("cpu", "cores", "flags", "gpus", "governor"):
        before, after = getattr(old.machine, name), getattr(new.machine, name)
        if before != after:
            found.append(f"the machines differ in {name}: {before} and {after}")
    if old.bundle != new.bundle:
        found.append(f"the bundles differ: {old.bundle} and {new.bundle}")
    return found


def _compare(old: Run, new: Run, allowed: float, rng: np.random.Generator) -> list[Change]:
    before, after = ([stored.window() for stored in run.windows] for run in (old, new))
    sure = min(len(before), len(after)) >= _LEAST_WINDOWS
    draws = [_draw(windows, rng) if sure else None for windows in (before, after)]
    changes = [_change(new.name, "images_per_s", old.images_per_s, new.images_per_s, draws, _rates, allowed)]
    for figure, (name, quantile) in _QUANTILES.items():
        was, now = old.latency_ms.get(name), new.latency_ms.get(name)
        if was and now:
            compute = partial(_Drawn.quantiles, quantile=quantile)
            changes.append(_change(new.name, figure, was, now, draws, compute, allowed))
    return changes


@dataclass(frozen=True)
class _Drawn:
    """Windows resampled with replacement. Whole windows are drawn, because neighbours in time resemble each other."""

    windows: Sequence[Window]
    indices: npt.NDArray[np.int64]

    def quantiles(self, quantile: float) -> npt.NDArray[np.float64]:
        bars = [window.latency.bars() for window in self.windows]
        values = np.unique(np.concatenate([value for value, _ in bars]))
        counts = np.zeros((len(bars), len(values)), np.int64)
        for row, (value, count) in enumerate(bars):
            counts[row, np.searchsorted(values, value)] = count
        sums = np.stack([counts[drawn].sum(0) for drawn in self.indices]).cumsum(1)
        wanted = np.maximum(1, np.ceil(quantile * sums[:, -1:]))
        return np.asarray(values[(sums < wanted).sum(1).clip(max=len(values) - 1)], np.float64)


def _rates(drawn: _Drawn) -> npt.NDArray[np.float64]:
    images = np.array([window.images for window in drawn.windows])
    seconds = np.array([window.seconds for window in drawn.windows])
    return np.asarray(images[drawn.indices].sum(1) / seconds[drawn.indices].sum(1), np.float64)


def _draw(windows: Sequence[Window], rng: np.random.Generator) -> _Drawn:
    return _Drawn(windows, rng.integers(0, len(windows), (_RESAMPLES, len(windows))))


def _change(
    run: str,
    figure: str,
    old: float,
    new: float,
    draws: Sequence[_Drawn | None],
    compute: Callable[[_Drawn], npt.NDArray[np.float64]],
    allowed: float,
) -> Change:
    ratio = new / old if old else float("inf") if new else 1.0
    interval = None
    before, after = draws
    if before is not None and after is not None:
        low, high = np.quantile(compute(after) / np.maximum(compute(before), 1e-9), (0.025, 0.975))
        interval = (float(low), float(high))
    if figure == "images_per_s":
        worse = ratio < 1 - allowed and (interval is None or interval[1] < 1)
    else:
        worse = ratio > 1 + allowed and (interval is None or interval[0] > 1)
    return Change(run, figure, old, new, ratio, interval, worse)
