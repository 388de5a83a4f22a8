"""Checks whether all engines agree: runs the same pictures through each and compares with PyTorch in float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.metrics import auroc
from engines.bundle import Bundle
from engines.engine import EXACT, Engine, Frames
from engines.errors import EngineUnavailable
from engines.registry import ENGINES, engine_class, open_engine

_BATCH = 8

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EngineState:
    """An engine on one device, and whether it can run here.

    Attributes:
        name: the engine.
        device: what it would run on, or empty.
        precisions: those it offers there, preferred first.
        reason: why it cannot run, or None.
    """

    name: str
    device: str
    precisions: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class Agreement:
    """How far an engine is from the reference on the same pictures.

    Attributes:
        engine: its name.
        device: what it runs on.
        precision: `bf16` and the like; `bf16+f32` is bf16 with a second look.
        mean: mean difference of the scores in sigma, signed.
        p99: 99th percentile of the absolute difference.
        largest: the largest absolute difference.
        heatmap: correlation of all heatmap cells with the reference's.
        auroc: on these pictures, or None where they are not labelled.
        flips: verdicts that differ.
        furthest_flip: how far from the threshold the reference's score of a flipped verdict lies at most, in sigma.
        rescored: share of pictures that were scored again in float32.
        images_per_s: in this run, from arrays, batches in flight as the engine takes them.
        good_images_per_s: the same on good parts only, or None where they are not labelled or that was not asked for.
    """

    engine: str
    device: str
    precision: str
    mean: float
    p99: float
    largest: float
    heatmap: float
    auroc: float | None
    flips: int
    furthest_flip: float
    rescored: float
    images_per_s: float
    good_images_per_s: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns all figures as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Pictures:
    """Pictures at the network's size.

    Attributes:
        frames: uint8 `[N, H, W, 3]`.
        defective: bool `[N]`, or None if unknown.
    """

    frames: Frames
    defective: npt.NDArray[np.bool_] | None


def list_engines() -> list[EngineState]:
    """Lists every engine on every device it can use here, and the reason for each engine that cannot run."""
    states = []
    for name in ENGINES:
        found = engine_class(name)
        try:
            devices = found.devices()
        except EngineUnavailable as error:
            states.append(EngineState(name, "", (), str(error)))
            continue
        states += [EngineState(name, device, found.precisions(device), None) for device in devices]
    return states


def check_agreement(bundle: Bundle, pictures: Pictures, report: Progress, good_rate: bool = True) -> list[Agreement]:
    """Runs every engine that can run here, in every precision, without and with a second look.

    Args:
        bundle: the bundle.
        pictures: what to run them on.
        report: told how many runs are done.
        good_rate: whether to measure the rate on good parts too, which takes as long again.

    Raises:
        EngineUnavailable: PyTorch, the reference, is not installed.
    """
    # The reference is PyTorch on the CPU, because that is the same everywhere.
    with open_engine(bundle, "torch", EXACT, _BATCH, "cpu") as engine:
        reference = _measure(engine, pictures, EXACT, good_rate)
    runs = list(_runs(bundle))
    results = [_compare(bundle, pictures, reference, reference)]
    for done, (name, device, precision) in enumerate(runs):
        report(f"{name} {precision}", done, len(runs))
        with open_engine(bundle, name, precision, _BATCH, device) as engine:
            results.append(_compare(bundle, pictures, reference, _measure(engine, pictures, precision, good_rate)))
    report("done", len(runs), len(runs))
    return results


@dataclass(frozen=True)
class _Run:
    engine: str
    device: str
    precision: str
    scores: npt.NDArray[np.float64]
    heatmaps: npt.NDArray[np.float32]
    rescored: float
    images_per_s: float
    good_images_per_s: float | None


def _runs(bundle: Bundle) -> Sequence[tuple[str, str, str]]:
    runs = []
    for state in list_engines():
        if state.reason is not None:
            continue
        for precision in engine_class(state.name).precisions_for(bundle, state.device):
            if (state.name, state.device, precision) != ("torch", "cpu", EXACT):
                runs.append((state.name, state.device, precision))
            if precision != EXACT and precision in bundle.manifest.bands:
                runs.append((state.name, state.device, f"{precision}+{EXACT}"))
    return runs


def _measure(engine: Engine, pictures: Pictures, precision: str, with_good_rate: bool) -> _Run:
    rate, (scores, heatmaps, rescored) = _stream(engine, pictures.frames)
    good_rate = None
    if with_good_rate and pictures.defective is not None and (~pictures.defective).any():
        good = pictures.frames[~pictures.defective]
        # Enough that the start and the end of the stream do not matter.
        good_rate = _stream(engine, np.concatenate([good] * max(1, -(-len(pictures.frames) // len(good)))))[0]
    return _Run(engine.name, engine.device, precision, scores, heatmaps, rescored, rate, good_rate)


def _stream(
    engine: Engine, frames: Frames
) -> tuple[float, tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], float]]:
    started = time.perf_counter()
    futures = [engine.submit(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
    parts = [future.result() for future in futures]
    rate = len(frames) / (time.perf_counter() - started)
    scores = np.concatenate([part.score for part in parts]).astype(np.float64)
    rescored = float(np.concatenate([part.rescored for part in parts]).mean())
    return rate, (scores, np.concatenate([part.heatmap for part in parts]), rescored)


def _compare(bundle: Bundle, pictures: Pictures, reference: _Run, run: _Run) -> Agreement:
    threshold = bundle.manifest.threshold.value
    moved = np.abs(run.scores - reference.scores)
    flipped = (run.scores > threshold) != (reference.scores > threshold)
    distance = np.abs(reference.scores - threshold)[flipped]
    return Agreement(
        engine=run.engine,
        device=run.device,
        precision=run.precision,
        mean=float((run.scores - reference.scores).mean()),
        p99=float(np.quantile(moved, 0.99)),
        largest=float(moved.max()),
        heatmap=float(np.corrcoef(run.heatmaps.ravel(), reference.heatmaps.ravel())[0, 1]),
        auroc=None if pictures.defective is None else auroc(run.scores, pictures.defective),
        flips=int(flipped.sum()),
        furthest_flip=float(distance.max()) if len(distance) else 0.0,
        rescored=run.rescored,
        images_per_s=run.images_per_s,
        good_images_per_s=run.good_images_per_s,
    )
