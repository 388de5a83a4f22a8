"""What a shadow run costs a line at half load: the latencies of its verdicts with one and without, in turn.

By hand: `python -m tests.pipeline.line.shadow_cost BUNDLE PARTS`. It takes a bundle and a folder of pictures, lets a
copy of the bundle judge beside it, and prints p50, p99 and p99.9 of the line's latency without a shadow run, while the
candidate is being opened, while it judges, and of both together; and the same of as many windows without one, to tell
chance from cost.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engines.bundle import open_bundle, update_manifest
from engines.image import read_image
from pipeline.client.orders import tell_line
from pipeline.config.line_file import check_config
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.protocol.orders import Order
from pipeline.sources.source import Source
from tests.pipeline.sources.live import Answers


class Steady(Source):
    """A camera that gives pictures at a rate that is set once the engine's speed is known."""

    rate = 1.0

    def __init__(self, camera: str, parts: Path) -> None:
        super().__init__(camera)
        self._images = [read_image(path) for path in sorted(parts.iterdir())[:20]]

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        started, number = time.monotonic(), 0
        while not stop.wait(max(0.0, started + number / self.rate - time.monotonic())):
            image = self._images[number % len(self._images)]
            yield Frame(self.camera, number, image, time.time_ns(), time.monotonic_ns())
            number += 1


def main() -> None:
    """Prints the latencies of each kind of window."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=lambda word: Path(word).resolve())
    parser.add_argument("parts", type=lambda word: Path(word).resolve())
    parser.add_argument("--load", type=float, default=0.5, help="share of what the engine does at batch 1")
    parser.add_argument("--seconds", type=float, default=10, help="how long a window lasts")
    parser.add_argument("--rounds", type=int, default=5, help="how many windows of each kind")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    values = {
        "line": {"name": "shadow-cost", "takt_ms": 1000},
        "model": {"bundle": str(arguments.bundle), "precision": arguments.precision, "max_batch": 4},
        "camera": [{"name": "a", "source": "replay:.", "on_overload": "drop_oldest"}],
        "publish": {"verdicts": "tcp://127.0.0.1:*"},
        "control": {"bind": "tcp://127.0.0.1:*"},
    }
    source = Steady("a", arguments.parts)
    windows: dict[str, list[float]] = {"without": [], "opening": [], "shadow": [], "without again": []}
    judged = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(shutil.copytree(arguments.bundle, Path(folder) / "candidate"))
        update_manifest(open_bundle(candidate), {"created_at": "1970-01-01T00:00:00+00:00"})
        with build_line(check_config(values, "by hand"), sources=[source], watched=True) as line:
            engine = line.model.engine
            source.rate = arguments.load * 1e9 / engine.batch_ns[1]
            print(f"{engine.name} {engine.precision}: {engine.batch_ns[1] / 1e6:.1f} ms, {source.rate:.1f} parts/s")
            assert line.control is not None
            address = line.control.address
            line.start()
            answers = Answers(line)
            answers.await_in_all(50)

            def state() -> str:
                shadow = line.status()["shadow"]
                return "" if shadow is None else str(shadow["state"])

            def window(kind: str) -> None:
                first = len(answers.verdicts)
                time.sleep(arguments.seconds)
                windows[kind] += [item.latency.total / 1e6 for item in answers.verdicts[first:]]

            for _ in range(arguments.rounds):
                window("without")
                first = len(answers.verdicts)
                tell_line(address, Order(do="shadow", bundle=str(candidate), parts=10_000))
                while state() == "opening":
                    time.sleep(0.05)
                windows["opening"] += [item.latency.total / 1e6 for item in answers.verdicts[first:]]
                window("shadow")
                tell_line(address, Order(do="cancel-shadow"))
                shadow = line.status()["shadow"]
                judged, skipped = judged + shadow["judged"], skipped + shadow["skipped"]
                time.sleep(1)
                window("without again")
            line.drain()
            answers.finish()
    print(f"{judged} parts judged beside, {skipped} skipped, cost {shadow['cost_ms']}")
    print(f"reasons: {dict(Counter(item.reason for item in answers.verdicts))}")
    windows["whole run"] = windows["opening"] + windows["shadow"]
    base = np.percentile(windows["without"], 99)
    for kind, latencies in windows.items():
        p50, p99, p999 = np.percentile(latencies, (50, 99, 99.9))
        print(f"{kind:>14}: {len(latencies)} verdicts, p50 {p50:.2f}, p99 {p99:.2f} ms ({p99 / base - 1:+.1%}), "
              f"p99.9 {p999:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
