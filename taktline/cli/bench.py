"""The command line's way into the measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bench.load.pictures import Decode
from engines.bundle import Bundle, open_bundle
from engines.errors import ConfigError
from engines.files import check_writable
from taktline.cli.bench_parts import capture, delivery
from taktline.cli.calibrate import progress_bars

if TYPE_CHECKING:
    from bench.measure.engine import Report
    from bench.measure.machine import Machine
    from bench.report.results import Kind

BundleOption = Annotated[Path, typer.Option(help="Model bundle.")]
DataOption = Annotated[Path | None, typer.Option(help="A data set, whose test pictures are used; else drawn parts.")]
EngineOption = Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime or torch.")]
PrecisionOption = Annotated[
    str, typer.Option(help="auto (fast, with a second look in float32), f32, bf16, f16, int8, int8+f32 and the like.")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, gpu, npu or cuda; the engine's preferred one.")]
MaxBatchOption = Annotated[int, typer.Option(min=1, max=256, help="The most frames in one batch.")]
DecodeOption = Annotated[
    Decode,
    typer.Option(
        help="How frames come: pixels at the network's size, pixels still to be resized, or files still to be decoded.",
    ),
]
CamerasOption = Annotated[int, typer.Option(min=1, max=64, help="How many cameras share the rate.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all figures into this file.")]
ReportFile = Annotated[Path | None, typer.Option(help="Write a report (HTML) into this file.")]
SecondsOption = Annotated[float, typer.Option(min=0.05, help="How long each measurement takes.")]


def engine(
    bundle: BundleOption,
    data: DataOption = None,
    engines: Annotated[str, typer.Option(help="Which, with commas between; all that can run here by default.")] = "",
    precisions: Annotated[str, typer.Option(help="Such as bf16,bf16+f32; all by default.")] = "",
    batch_sizes: Annotated[str, typer.Option(help="With commas between.")] = "1,2,4,8,16",
    baseline: Annotated[
        str | None, typer.Option(help="What ratios refer to, such as 'torch cpu f32, batch 8'; the first by default.")
    ] = None,
    seconds: SecondsOption = 2.0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Measure engines alone: batches one at a time for their latency, and in flight for their throughput.

    Example: taktline bench engine --bundle runs/bottle --data data/bottle --batch-sizes 1,8
    """
    from bench.load.pictures import load_pictures, stored_frames
    from bench.measure.engine import bench_engines, choose_engines

    opened, machine = _prepare(bundle, json_file, report)
    batches = [round(size) for size in _numbers(batch_sizes, "--batch-sizes")]
    choices = choose_engines(opened, _words(engines), _words(precisions))
    with _progress() as show, stored_frames(load_pictures(data), opened.size) as frames:
        runs = bench_engines(opened, [(choice, batches) for choice in choices], frames, seconds / 2, baseline, show)
    settings = {"data": _name(data), "seconds": seconds}
    _hand_out("engine", opened, machine, settings, runs, {}, (), json_file, report)


def line(
    bundle: BundleOption,
    data: DataOption = None,
    rates: Annotated[
        str, typer.Option(help="Frames a second, with commas between; else the line is held against the bare engine.")
    ] = "",
    find_limit: Annotated[
        bool, typer.Option("--find-limit", help="Search the highest rate at which p99 keeps --takt, nothing dropped.")
    ] = False,
    takt: Annotated[float | None, typer.Option(min=1, help="The line's takt in ms; 100 with --find-limit.")] = None,
    arrivals: Annotated[
        str, typer.Option(help="constant, poisson, bursts, or a file with a line 'seconds,camera' for each frame.")
    ] = "constant",
    burst: Annotated[int, typer.Option(min=1, help="Frames in a burst.")] = 8,
    cameras: CamerasOption = 1,
    decode: DecodeOption = "memory",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    device: DeviceOption = None,
    max_batch: MaxBatchOption = 8,
    seconds: SecondsOption = 10.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before each measurement that do not count.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of what is at random.")] = 0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Measure a whole line: loaded from another process, from a frame's scheduled arrival to its verdict's at a third.

    Example: taktline bench line --bundle runs/bottle --data data/bottle --find-limit --takt 100
    """
    from bench.measure.line_suite import LineSettings, bench_against_engine, bench_rates, bench_recorded

    opened, machine = _prepare(bundle, json_file, report)
    recorded = Path(arrivals) if arrivals not in {"constant", "poisson", "bursts"} else None
    if recorded is not None and (rates or find_limit):
        raise ConfigError("a recorded schedule has its own rate; leave out --rates and --find-limit")
    if rates and find_limit:
        raise ConfigError("give either --rates or --find-limit")
    settings = LineSettings(
        opened, data, engine, precision, device, max_batch,
        decode, recorded or arrivals, cameras, burst,  # type: ignore[arg-type]
        100.0 if find_limit and takt is None else takt, seconds, warm_up, seed,
    )  # fmt: skip
    with _progress() as show:
        if recorded is not None:
            found = bench_recorded(settings, show)
        elif rates:
            found = bench_rates(settings, _numbers(rates, "--rates"), show)
        else:
            found = bench_against_engine(settings, find_limit, show)
    _hand_out("line", opened, machine, settings.to_json(), found.runs, found.figures, (), json_file, report)


def soak(
    bundle: BundleOption,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long.")],
    rate: Annotated[float, typer.Option(min=0.01, help="Frames a second.")] = 10.0,
    data: DataOption = None,
    sample: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks at the line's process.")] = 10.0,
    takt: Annotated[float | None, typer.Option(min=1, help="The line's takt in ms.")] = None,
    cameras: CamerasOption = 1,
    decode: DecodeOption = "jpeg",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    max_batch: MaxBatchOption = 8,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Load a line steadily for a long time and see whether memory, handles, threads or latency grow.

    Example: taktline bench soak --bundle runs/bottle --minutes 60 --rate 10
    """
    from bench.measure.line_suite import LineSettings
    from bench.measure.soak import soak_line

    opened, machine = _prepare(bundle, json_file, report)
    settings = LineSettings(
        opened, data, engine, precision, None, max_batch, decode, "poisson", cameras, takt_ms=takt, seconds=sample
    )
    with _progress() as show:
        found = soak_line(settings, rate, minutes, show)
    values = settings.to_json() | {"rate": rate, "minutes": minutes}
    _hand_out("soak", opened, machine, values, [found.run], found.figures, found.samples, json_file, report)


def peers(
    bundle: BundleOption,
    data: DataOption = None,
    anomalib_python: Annotated[
        Path | None, typer.Option(help="The python of an environment with anomalib; left out without it.")
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    max_batch: MaxBatchOption = 8,
    torch_batch: Annotated[int, typer.Option(min=1, max=256, help="Pictures that PyTorch gets at once.")] = 32,
    seconds: SecondsOption = 10.0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Measure side by side: PyTorch as it is mostly used, the engines, the line, anomalib, and the arithmetic limit.

    Example: taktline bench peers --bundle runs/bottle --data data/bottle --anomalib-python anomalib/bin/python
    """
    from bench.measure.line_suite import LineSettings
    from bench.peers.peers import bench_peers

    opened, machine = _prepare(bundle, json_file, report)
    settings = LineSettings(opened, data, engine, precision, max_batch=max_batch, seconds=seconds)
    with _progress() as show:
        found = bench_peers(settings, anomalib_python, torch_batch, show)
    _hand_out("peers", opened, machine, settings.to_json(), found.runs, found.figures, (), json_file, report)


def compare(
    old: Annotated[Path, typer.Argument(help="What --json wrote before.")],
    new: Annotated[Path, typer.Argument(help="What --json wrote now.")],
    fail_above: Annotated[str, typer.Option(help="By how much a figure may get worse.")] = "10%",
    json_file: JsonFile = None,
) -> None:
    """Compare two measurements; exits with 1 where a figure got worse by more than is allowed, and surely worse at all.

    Example: taktline bench compare old.json new.json --fail-above 10%
    """
    import json

    from bench.report.compare import compare_results, differences, read_share
    from bench.report.results import read_results
    from engines.files import save_text
    from taktline.cli.bench_tables import changes_table

    if json_file is not None:
        check_writable(json_file)
    allowed = read_share(fail_above)
    before, after = read_results(old), read_results(new)
    changes = compare_results(before, after, allowed)
    console = Console()
    for sentence in differences(before, after):
        console.print(f"[yellow]{sentence}[/]")
    console.print(changes_table(changes, allowed))
    if json_file is not None:
        save_text(json_file, json.dumps([change.to_json() for change in changes], indent=1) + "\n")
    if any(change.worse for change in changes):
        raise typer.Exit(1)


def _prepare(bundle: Path, *files: Path | None) -> tuple[Bundle, Machine]:
    """Checks what can be checked before the work, and looks at the machine while it still is quiet."""
    from bench.measure.machine import look_at_machine
    from bench.report.histogram import LatencyHistogram

    # Refused now where the package is missing.
    LatencyHistogram()
    for path in files:
        if path is not None:
            check_writable(path)
    return open_bundle(bundle), look_at_machine()


def _hand_out(
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
    from bench.report.results import new_results, write_results
    from taktline.cli.bench_tables import results_tables

    results = new_results(kind, bundle, settings, runs, figures, samples, machine)
    Console().print(*results_tables(results), sep="\n")
    if json_file is not None:
        write_results(json_file, results)
    if report is not None:
        from bench.report.page import write_report

        write_report(report, results)


@contextmanager
def _progress() -> Iterator[Report]:
    with progress_bars(Console(stderr=True)) as report:

        def show(note: str, done: int, total: int) -> None:
            report("bench", done, total, note)

        yield show


def _name(data: Path | None) -> str | None:
    return None if data is None else data.name


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str, option: str) -> list[float]:
    try:
        numbers = [float(word) for word in _words(text)]
    except ValueError as error:
        raise ConfigError(f"{option} is '{text}'; give numbers with commas between, such as 1,8") from error
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise ConfigError(f"{option} is '{text}'; give numbers above 0")
    return numbers


def build_bench() -> typer.Typer:
    """Returns the group of commands that measure."""
    app = typer.Typer(name="bench", no_args_is_help=True, help="Measure latency and throughput.")
    for command in (engine, line, capture, delivery, soak, peers, compare):
        app.command()(command)
    return app
