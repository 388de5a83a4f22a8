"""What the commands that measure share: their options, the checks before a run, and the output after it."""

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

BundleOption = Annotated[Path, typer.Option(help="Model bundle.")]
PicturesOption = Annotated[
    Path | None, typer.Option(help="Data set whose test pictures are used. Default: drawn parts.")
]
DecodeOption = Annotated[
    Decode,
    typer.Option(help="How frames arrive: pixels at the network's size, pixels to resize, or files to decode."),
]
CameraCountOption = Annotated[int, typer.Option(min=1, max=64, help="Number of cameras that share the rate.")]
SecondsOption = Annotated[float, typer.Option(min=0.05, help="Length of each measurement.")]


def prepare(bundle: Path, *files: Path | None) -> tuple[Bundle, Machine]:
    """Checks whatever can be checked before the work, and describes the machine while it is still quiet.

    Args:
        bundle: the bundle to measure.
        files: files that will be written, where they are asked for.

    Raises:
        TaktlineError: the bundle cannot be opened, a file cannot be written, or a package is missing.
    """
    from bench.measure.machine import look_at_machine
    from bench.report.histogram import LatencyHistogram
    from engines.bundle import open_bundle
    from engines.files import check_writable

    # Raises now, and not after minutes of measuring, if its package is missing.
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
    """Prints what was measured and writes it to the files that were asked for."""
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
    """Shows one progress bar for all of a measurement."""
    with progress_bars() as report:
        yield lambda note, done, total: report("bench", done, total, note)


def data_name(data: Path | None) -> str | None:
    """Returns a data set's name as results state it."""
    return None if data is None else data.name


def read_words(text: str) -> list[str]:
    """Splits a list that is given with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def read_numbers(text: str, option: str) -> list[float]:
    """Reads a list of positive numbers that is given with commas.

    Raises:
        ConfigError: it holds something else, or nothing.
    """
    try:
        numbers = [float(word) for word in read_words(text)]
    except ValueError as error:
        raise ConfigError(f"{option} is '{text}'; give numbers with commas between, such as 1,8") from error
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise ConfigError(f"{option} is '{text}'; give numbers above 0")
    return numbers
