"""Measures how fast stored pictures are inspected, beside the bare engine on the same pictures."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from bench.load.pictures import as_sent, encode_picture
from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import TaktlineError
from engines.image import Image
from engines.registry import open_engine
from pipeline.archive.inspector import Inspector, Wishes
from pipeline.archive.on_ray import Cluster, EngineWish
from pipeline.archive.picture import InHand, Picture
from pipeline.archive.row import Row
from pipeline.config.sections import DecisionSection

Kind = Literal["png", "jpeg", "decoded"]
KINDS: tuple[Kind, ...] = ("decoded", "jpeg", "png")
_BARE = "bare engine"

Inspecting = Callable[[Iterable[Picture]], Iterator[Row]]


@dataclass(frozen=True)
class Rate:
    """How fast one way is.

    Attributes:
        name: the way.
        images_per_s: median over the rounds.
        ratio: over the bare engine in the same round; median over the rounds.
    """

    name: str
    images_per_s: float
    ratio: float


def measure_inspect(
    bundle: Bundle,
    pictures: Sequence[Image],
    wish: EngineWish,
    ray: str | None,
    count: int,
    rounds: int,
    report: Callable[[str, int, int], None],
) -> list[Rate]:
    """Inspects pictures in files of several kinds, in turns with the bare engine, A B C A B C.

    `decoded` are bitmaps at the network's size, with nothing to decode or resize. Each way is warmed by one window that
    does not count.

    Args:
        bundle: the bundle.
        pictures: taken in turn.
        wish: the engine.
        ray: address of a Ray cluster that is measured as well; None for none.
        count: pictures in a window.
        rounds: number of windows of each way.
        report: told how many windows are done.

    Raises:
        TaktlineError: a picture got no verdict, or the engine or the cluster cannot be used.
    """
    stored = {kind: _stored(pictures, kind, bundle.size) for kind in KINDS}
    frames = np.stack(as_sent(pictures, bundle.size, "memory"))
    decision, wishes = DecisionSection(heatmaps="none"), Wishes()
    with ExitStack() as opened:
        engine = opened.enter_context(
            open_engine(
                bundle, wish.engine, wish.precision, wish.max_batch, wish.device, "throughput", wish.threshold
            )
        )
        inspector = opened.enter_context(Inspector(bundle, engine, decision, wishes))
        ways: dict[str, Callable[[], None]] = {_BARE: lambda: _run_bare(engine, frames, count)}
        ways |= {kind: _way(inspector.inspect, files, count) for kind, files in stored.items()}
        if ray is not None:
            cluster = opened.enter_context(Cluster(ray, bundle, wish, decision, wishes))
            ways |= {f"{kind}, on Ray": _way(cluster.inspect, files, count) for kind, files in stored.items()}
        rates = _take_turns(ways, count, rounds, report)
    bare = rates[_BARE]
    return [Rate(name, float(np.median(own)), float(np.median(own / bare))) for name, own in rates.items()]


def _take_turns(
    ways: dict[str, Callable[[], None]], count: int, rounds: int, report: Callable[[str, int, int], None]
) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for index, (name, way) in enumerate(ways.items()):
            began = time.perf_counter()
            way()
            if number:
                found[name].append(count / (time.perf_counter() - began))
            report("inspecting", number * len(ways) + index + 1, (rounds + 1) * len(ways))
    return {name: np.array(rates) for name, rates in found.items()}


def _run_bare(engine: Engine, frames: Frames, count: int) -> None:
    """Scores frames with as many batches in flight as the engine takes."""
    computing: deque[Future[Scores]] = deque()
    turn = itertools.cycle(range(len(frames)))
    for start in range(0, count, engine.max_batch):
        chosen = list(itertools.islice(turn, min(engine.max_batch, count - start)))
        computing.append(engine.submit(frames[chosen]))
        while len(computing) > engine.jobs:
            computing.popleft().result()
    for one in computing:
        one.result()


def _way(inspect: Inspecting, files: Sequence[bytes], count: int) -> Callable[[], None]:
    def run() -> None:
        turn = itertools.islice(itertools.cycle(files), count)
        coming = (Picture(str(n), "bench", str(n), InHand(data)) for n, data in enumerate(turn))
        inspected = sum(row["verdict"] != "uninspected" for row in inspect(coming))
        if inspected != count:
            raise TaktlineError(f"{inspected} of {count} pictures were inspected; report this defect of Taktline")

    return run


def _stored(pictures: Sequence[Image], kind: Kind, size: tuple[int, int]) -> list[bytes]:
    if kind == "decoded":
        return [cv2.imencode(".bmp", np.asarray(one))[1].tobytes() for one in as_sent(pictures, size, "memory")]
    return [encode_picture(picture, kind) for picture in pictures]
