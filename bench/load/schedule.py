"""When frames arrive: schedules that are fixed before anything starts."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.errors import ConfigError, DataError

Arrivals = Literal["constant", "poisson", "bursts"]

_MOST_FRAMES = 10_000_000


@dataclass(frozen=True)
class Schedule:
    """Arrivals of frames, ordered by time.

    Attributes:
        moments: int64 `[N]`, nanoseconds after the start, ascending.
        cameras: int64 `[N]`, the number of each frame's camera.
        count: number of cameras.
    """

    moments: npt.NDArray[np.int64]
    cameras: npt.NDArray[np.int64]
    count: int

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def seconds(self) -> float:
        """When the last frame arrives, in seconds after the start."""
        return float(self.moments[-1]) / 1e9 if len(self) else 0.0


def make_schedule(
    arrivals: Arrivals, rate: float, seconds: float, cameras: int = 1, burst: int = 8, seed: int = 0
) -> Schedule:
    """Makes a schedule; its cameras share the rate.

    Args:
        arrivals: `constant` is one frame per period, with the cameras shifted against each other; `poisson` is random,
            like parts that arrive independently; `bursts` is `burst` frames of one camera at once, then a pause.
        rate: frames per second of all cameras together.
        seconds: length of the schedule.
        cameras: number of cameras.
        burst: frames per burst.
        seed: seed for everything random.

    Raises:
        ConfigError: nothing would arrive, or too much.
    """
    if not 0 < rate < float("inf") or not 0 < seconds < float("inf") or cameras < 1 or burst < 1:
        raise ConfigError("a schedule needs a rate and a time above 0, at least one camera and one frame per burst")
    if max(rate * seconds, cameras * burst) > _MOST_FRAMES:
        raise ConfigError(
            f"a schedule holds at most {_MOST_FRAMES} frames; give a lower rate, a shorter time or smaller bursts"
        )
    period = cameras / rate
    rng = np.random.default_rng(seed)
    moments, owners = [], []
    for camera in range(cameras):
        shift = period * camera / cameras
        if arrivals == "constant":
            own = np.arange(shift, seconds, period)
        elif arrivals == "poisson":
            # Enough to fill the time with near certainty.
            most = int(seconds / period * 1.5 + 100)
            own = np.cumsum(rng.exponential(period, most))
        else:
            own = np.repeat(np.arange(shift * burst, seconds, period * burst), burst)
        own = own[own < seconds]
        moments.append(own)
        owners.append(np.full(len(own), camera))
    schedule = _sorted(np.concatenate(moments), np.concatenate(owners), cameras)
    if not len(schedule):
        raise ConfigError(f"no frame arrives in {seconds:g} s at {rate:g} a second; give more of either")
    return schedule


def read_schedule(path: Path) -> Schedule:
    """Reads a recorded schedule: one line per frame with its moment in seconds and, after a comma, its camera's number.

    Moments count from the earliest, cameras from 0. A missing camera means 0.

    Raises:
        DataError: it cannot be read, or is not a schedule.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
        moments = np.array([float(row[0]) for row in rows])
        cameras = np.array([int(row[1]) if len(row) > 1 else 0 for row in rows])
    except OSError as error:
        raise DataError(f"the schedule {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a schedule ({error}); give lines of 'seconds' or 'seconds,camera'") from error
    if not rows or not np.isfinite(moments).all() or cameras.min() < 0 or cameras.max() > 63:
        raise DataError(f"{path} is not a schedule; give at least one finite moment, and cameras from 0 to 63")
    return _sorted(moments - moments.min(), cameras, int(cameras.max()) + 1)


def _sorted(seconds: npt.NDArray[np.float64], cameras: npt.NDArray[np.int64], count: int) -> Schedule:
    order = np.argsort(seconds, kind="stable")
    return Schedule(np.rint(seconds[order] * 1e9).astype(np.int64), cameras[order].astype(np.int64), count)
