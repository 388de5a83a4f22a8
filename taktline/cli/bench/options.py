"""Shared parts of the bench commands: options, checks before a run, and output after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.load.decode import Decode
from engines.errors import ConfigError
from taktline.cli.console import progress_bars, show

if TYPE_CHECKING:
    from bench.measure.engine import Report
    from bench.measure.machine import Machine
    from bench.report.results import Kind
    from engines.bundle import Bundle

DAY_S = 86_400
_MOST_BATCH = 4096

BundleOption = Annotated[Path, typer.Option(help="Model bundle.")]
PicturesOption = Annotated[
    Path | None, typer.Option(help="Data set whose test pictures are used. Default: drawn parts.")
]
DecodeOption = Annotated[
    Decode,
    typer.Option(help="How frames arrive: pixels at the network's size, pixels to resize, or files to decode."),
]
CameraCountOption = Annotated[int, typer.Option(min=1, max=64, help="Number of cameras that share the rate.")]
SecondsOption = Annotated[float, typer.Option(min=0.05, max=DAY_S, help="Length of each measurement.")]
TaktOption = Annotated[float | None, typer.Option(min=1, max=3_600_000, help="The line's takt in ms.")]


def prepare(bundle: Path, *files: Path | None) -> tuple[Bundle, Machine]:
    """Checks everything that can be checked in advance, and describes the machine while it is still quiet.

    Args:
        bundle: the bundle to measure.
        files: files that will be written; None for those not requested.

    Raises:
        TaktlineError: the bundle cannot be opened, a file cannot be written, or a package is missing.
    """
    from bench.measure.machine import look_at_machine
    from bench.report.histogram import LatencyHistogram
    from engines.bundle import open_bundle
    from engines.files import check_writable

    # If its package is missing, this raises now and not after minutes of measuring.
    LatencyHistogram()
    for path in files:
        if path is not None:
            check_writable(path)
    return open_bundle(bundle), look_at_machine()


def hand_out(
    kind: Kind,
    bundle: Bundle,
    machine: Machine,
    settings: dict[str, Any],
    runs: Sequence[Any],
    figures: dict[str, float],
    samples: Sequence[Any],
    json_file: Path | None,
    report: Path | None,
) -> None:
    """Prints the results and writes them to the requested files."""
    from bench.report.results import new_results, write_results
    from taktline.cli.bench.tables import results_tables

    results = new_results(kind, bundle, settings, runs, figures, samples, machine)
    show(*results_tables(results))
    if json_file is not None:
        write_results(json_file, results)
    if report is not None:
        from bench.report.page import write_report

        write_report(report, results)


@contextmanager
def bench_progress() -> Iterator[Report]:
    """Shows one progress bar for the whole measurement."""
    with progress_bars() as report:
        yield lambda note, done, total: report("bench", done, total, note)


def data_name(data: Path | None) -> str | None:
    """Returns a data set's name for the results."""
    return None if data is None else data.name


def read_words(text: str) -> list[str]:
    """Splits a comma-separated list."""
    return [word.strip() for word in text.split(",") if word.strip()]


def read_numbers(text: str, option: str) -> list[float]:
    """Reads a comma-separated list of positive numbers.

    Raises:
        ConfigError: it is empty or holds something else.
    """
    try:
        numbers = [float(word) for word in read_words(text)]
    except ValueError as error:
        raise ConfigError(f"{option} is '{text}'; give numbers separated by commas, such as 1,8") from error
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise ConfigError(f"{option} is '{text}'; give numbers above 0")
    return numbers


def read_batch_sizes(text: str, option: str) -> list[int]:
    """Reads a comma-separated list of batch sizes; see `read_counts`."""
    return read_counts(text, option, _MOST_BATCH)


def read_counts(text: str, option: str, most: int = 1000) -> list[int]:
    """Reads a comma-separated list of whole numbers.

    Raises:
        ConfigError: it is empty or holds something else.
    """
    numbers = read_numbers(text, option)
    if not all(number.is_integer() and number <= most for number in numbers):
        raise ConfigError(f"{option} is '{text}'; give whole numbers from 1 to {most}")
    return [int(number) for number in numbers]
