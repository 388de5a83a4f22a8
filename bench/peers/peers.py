"""Compares, on the same pictures and machine, how people do it today and the most this machine could do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.load.pictures import encode_picture, load_pictures, stored_frames
from bench.measure.arithmetic import operations_per_picture, operations_per_second
from bench.measure.engine import Choice, Report, bench_engines, choose_engines
from bench.measure.line_suite import LineSettings, loaded_line
from bench.report.results import Run
from engines.bundle import MODEL_F32
from engines.engine import EXACT
from engines.errors import TaktlineError

_SCRIPT = Path(__file__).with_name("anomalib_peer.py")
_ROUNDS = 3
_MOST_FILES = 40
_PATIENCE_S = 1800.0


@dataclass(frozen=True)
class PeersReport:
    """The runs, and figures derived from them.

    Attributes:
        runs: the runs; ratios refer to the first, which is PyTorch as it is commonly used.
        figures: by name; see bench/README.md.
    """

    runs: tuple[Run, ...]
    figures: dict[str, float]


def bench_peers(settings: LineSettings, anomalib: Path | None, torch_batch: int, report: Report) -> PeersReport:
    """Measures PyTorch eager, the engines, the line, anomalib and the arithmetic limit.

    Args:
        settings: bundle, pictures, the engine's settings and the seconds of each measurement.
        anomalib: the Python of an environment with anomalib, or None to leave it out.
        torch_batch: PyTorch's batch size.
        report: called with the progress.

    Raises:
        TaktlineError: anomalib cannot be run there; the text says why.
    """
    steps = 4 if anomalib is not None else 3
    if anomalib is not None:
        check_anomalib(anomalib)
    pictures = load_pictures(settings.data)
    with stored_frames(pictures, settings.bundle.size) as frames:
        report("PyTorch and the engines in turn", 0, steps)
        name = "openvino" if settings.engine == "auto" else settings.engine
        wanted = () if settings.precision == "auto" else (settings.precision,)
        choices = choose_engines(settings.bundle, [name], wanted)
        plan: list[tuple[Choice, list[int]]] = [(Choice("torch", "cpu", EXACT), [torch_batch])]
        plan += [(choice, [1, settings.max_batch]) for choice in choices]
        today, *ours = bench_engines(settings.bundle, plan, frames, settings.seconds / 2, None, _quiet)
    report("the line", 1, steps)
    runs = [today, *ours]
    fastest = max(run.images_per_s for run in ours)
    runs += [_line(replace(settings, decode=decode), fastest) for decode in ("memory", "png")]
    if anomalib is not None:
        report("anomalib", 2, steps)
        runs += measure_anomalib(anomalib, settings, pictures)
    report("the arithmetic limit", steps - 1, steps)
    operations = operations_per_picture(settings.bundle.file(MODEL_F32))
    precisions = {choice.precision.partition("+")[0] for choice in choices} & {"f32", "bf16", "f16", "int8"}
    limits = {precision: _limit(precision, operations) for precision in sorted(precisions)}
    runs = [_beside_limit(run, limits) for run in runs] + list(limits.values())
    report("done", steps, steps)
    # Engines already have a ratio, from the rounds in which they took turns with PyTorch.
    runs = [run if run.ratio is not None else _against(run, today) for run in runs]
    note = "as it is commonly used: PyTorch eager, one process, no stream"
    runs[0] = runs[0].model_copy(update={"note": "; ".join(filter(None, (note, runs[0].note)))})
    return PeersReport(tuple(runs), {"operations_per_image": operations})


def check_anomalib(python: Path) -> None:
    """Refuses a Python that has no anomalib.

    Raises:
        TaktlineError: it has none; the text says what to do.
    """
    try:
        done = _run_python(python, ["-c", "import anomalib.deploy"])
    except OSError as error:
        raise TaktlineError(f"{python} cannot be run ({error.strerror or error}); give the python of a venv") from error
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TaktlineError(
            f"{python} has no working anomalib ({words}); make an environment for it: python -m venv DIR && "
            "DIR/bin/pip install 'anomalib[openvino]'"
        )


def measure_anomalib(python: Path, settings: LineSettings, pictures: Sequence[Any]) -> list[Run]:
    """Measures anomalib's inferencers in its own environment; they take one picture at a time.

    Raises:
        TaktlineError: the measurement failed; the text repeats its last message.
    """
    with TemporaryDirectory(prefix="taktline-bench-") as folder:
        work = Path(folder)
        files = []
        for number, picture in enumerate(pictures[:_MOST_FILES]):
            files.append(work / f"{number:03d}.png")
            files[-1].write_bytes(encode_picture(picture, "png"))
        request = {
            "files": [str(path) for path in files], "work": str(work / "work"), "out": str(work / "out.json"),
            "seconds": settings.seconds / _ROUNDS, "rounds": _ROUNDS,
        }  # fmt: skip
        done = _run_python(python, [str(_SCRIPT)], json.dumps(request), work)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TaktlineError(f"anomalib could not be measured: {words}")
        found = json.loads((work / "out.json").read_text(encoding="utf-8"))
    return [
        Run(
            name=f"{run['name']}, from {'files' if run['source'] == 'file' else 'arrays'}",
            kind="peer",
            settings={"anomalib": found["version"], "source": run["source"]},
            images_per_s=run["images_per_s"],
            note="random weights: for speed only",
        )
        for run in found["runs"]
    ]


def _run_python(
    python: Path, arguments: list[str], given: str | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    # Our own packages must not shadow those in that environment.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return subprocess.run(
        [str(python.absolute()), *arguments], input=given, cwd=folder, env=environment, capture_output=True, text=True,
        timeout=_PATIENCE_S, check=False,
    )  # fmt: skip


def _against(run: Run, baseline: Run) -> Run:
    ratio = run.images_per_s / baseline.images_per_s
    return run.model_copy(update={"ratio": ratio, "baseline": baseline.name})


def _line(settings: LineSettings, fastest: float) -> Run:
    """Measures the line as it takes files from a folder, and as anomalib does: each when it has time for it."""
    source = "pixels in memory" if settings.decode == "memory" else f"{settings.decode.upper()} files in memory"
    waiting = replace(settings, takt_ms=None, overload="block")
    with loaded_line(waiting) as (bench, _):
        run = bench.measure(f"the line, {source}", waiting.schedule(fastest), waiting.warm_up, waiting.to_json())
    return run.model_copy(update={"note": "whole line, always busy: frame in another process to verdict in a third"})


def _beside_limit(run: Run, limits: dict[str, Run]) -> Run:
    """Notes which share of its precision's limit an engine reaches."""
    limit = limits.get(str(run.settings.get("precision")).partition("+")[0])
    if run.kind != "engine" or limit is None:
        return run
    return run.model_copy(update={"note": f"{run.images_per_s / limit.images_per_s:.2f} of its arithmetic limit"})


def _limit(precision: str, operations: float) -> Run:
    rate = operations_per_second(precision)
    return Run(
        name=f"arithmetic limit, {precision}",
        kind="limit",
        settings={"operations_per_s": rate, "operations_per_image": operations},
        images_per_s=rate / operations,
        note=f"a large matrix product runs at {rate / 1e9:.0f} GFLOP/s; the network is {operations / 1e9:.2f} GFLOP",
    )


def _quiet(note: str, done: int, total: int) -> None:
    """Shows no progress for steps within a step."""
