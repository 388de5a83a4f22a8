"""Stored results: one schema for all measurements, written by `--json` and read by `bench compare`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.measure.machine import Machine, look_at_machine
from bench.report.histogram import LatencyHistogram, Percentiles
from bench.report.windows import Window
from engines.bundle import Bundle
from engines.errors import DataError
from engines.files import save
from engines.validation import explain

Kind = Literal["engine", "line", "soak", "peers"]
Value = str | int | float | bool | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoredWindow(_Part):
    """A window as it is stored.

    Attributes:
        seconds: how long images were counted.
        images: number of images in that time.
        latency: an HdrHistogram of nanoseconds, V2 compressed, in base64.
    """

    seconds: float
    images: int
    latency: str

    @classmethod
    def of(cls, window: Window) -> StoredWindow:
        """Stores a window."""
        return cls(seconds=window.seconds, images=window.images, latency=window.latency.encode())

    def window(self) -> Window:
        """Returns the window."""
        return Window(self.seconds, self.images, LatencyHistogram.decode(self.latency))


class Run(_Part):
    """One measured run. Times are in milliseconds.

    Attributes:
        name: unique in the file; `bench compare` matches runs by it.
        kind: `engine` (latency of single batches, throughput with batches in flight), `line` (latency from a frame's
            scheduled arrival to its verdict's arrival at a subscriber), `peer` or `limit` (throughput only).
        settings: what it was measured with.
        images_per_s: throughput; for a line, of inspected frames.
        steady: whether three windows in a row agreed within 10 %; None if that was not checked.
        latency_ms: `p50`, `p90`, `p95`, `p99`, `p99_9`, `mean`, `max`; for a line, of inspected frames.
        variation: the latency's standard deviation over its mean.
        split_ms: where the time went: the same figures for each step.
        verdicts: number of frames that were `ok`, `ng`, `uninspected`; `missing` and `twice` are errors.
        reasons: why frames were not inspected.
        ratio: its throughput over the baseline's: the median over pairs of windows of the same round.
        baseline: name of the run that `ratio` refers to.
        peak_memory_mb: peak memory of the engine's or line's process.
        lag_ms: how late the loading process sent its frames; included in the latency.
        windows: the windows that the figures were computed from.
        note: a remark.
    """

    name: str
    kind: Literal["engine", "line", "peer", "limit"]
    settings: dict[str, Value] = Field(default_factory=dict)
    images_per_s: float
    steady: bool | None = None
    latency_ms: Percentiles = Field(default_factory=dict)
    variation: float | None = None
    split_ms: dict[str, Percentiles] = Field(default_factory=dict)
    verdicts: dict[str, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    ratio: float | None = None
    baseline: str | None = None
    peak_memory_mb: float | None = None
    lag_ms: Percentiles = Field(default_factory=dict)
    windows: tuple[StoredWindow, ...] = ()
    note: str = ""

    def latency(self) -> LatencyHistogram:
        """Returns the latencies of all windows."""
        return LatencyHistogram.merged(stored.window().latency for stored in self.windows)


class Sample(_Part):
    """A line's process at one moment of a soak.

    Attributes:
        minute: minutes since the start.
        memory_mb: resident memory.
        handles: open files and sockets.
        threads: number of threads.
        latency_ms: latencies of the frames since the last sample.
        uninspected: number of frames since then that were not inspected.
        dashboard_mb: resident memory of the dashboard beside it, if there is one.
        dashboard_cpu: the dashboard's share of one core since the last sample.
    """

    minute: float
    memory_mb: float
    handles: int
    threads: int
    latency_ms: Percentiles
    uninspected: int
    dashboard_mb: float | None = None
    dashboard_cpu: float | None = None


class Results(_Part):
    """A file of results.

    Attributes:
        schema_version: version of this schema.
        kind: the command that made it.
        created_at: when it was made, UTC.
        command: the command line.
        machine: the machine.
        bundle: first 12 digits of the bundle's sha256.
        category: the part that the bundle inspects.
        settings: settings of the whole measurement.
        runs: the runs.
        figures: figures derived from several runs, such as the limit.
        samples: samples of a soak.
    """

    schema_version: Literal[1] = 1
    kind: Kind
    created_at: str
    command: str
    machine: Machine
    bundle: str
    category: str
    settings: dict[str, Value]
    runs: tuple[Run, ...]
    figures: dict[str, float] = Field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


def new_results(
    kind: Kind,
    bundle: Bundle,
    settings: dict[str, Value],
    runs: Iterable[Run],
    figures: dict[str, float] | None = None,
    samples: Sequence[Sample] = (),
    machine: Machine | None = None,
) -> Results:
    """Combines results with the machine they were measured on; `machine` is its state before the measurement."""
    return Results(
        kind=kind,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command="taktline " + shlex.join(sys.argv[1:]),
        machine=machine or look_at_machine(),
        bundle=bundle.short_id,
        category=bundle.manifest.category,
        settings=settings,
        runs=tuple(runs),
        figures=figures or {},
        samples=tuple(samples),
    )


def write_results(path: Path, results: Results) -> None:
    """Writes results as JSON.

    Raises:
        DataError: the file cannot be written.
    """
    save(path, results.model_dump_json(indent=1) + "\n")


def read_results(path: Path) -> Results:
    """Reads what `write_results` wrote.

    Raises:
        DataError: it cannot be read, or is not a result.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise DataError(f"{path} is not a result of taktline bench ({explain(error)}); measure again") from error
