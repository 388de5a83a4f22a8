"""How soon the drift watch tells that real parts look different, what it names, and how often it is wrong.

By hand: `python -m tests.calibration.drifting BUNDLE DATA`. It makes the table of docs/drift.md.

Good parts are measured on every other training picture; the stream is drawn from the others and from good test parts,
each time with a little more or less light and noise. In each state the change grows over 500 parts from nothing to all
of it, and stays. Scores are the bundle's, of the same pictures at five strengths.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.dataset import open_dataset
from calibration.looks import some_of
from engines.bundle import Bundle, open_bundle
from engines.engine import EXACT
from engines.image import Image, read_image, resize_frame
from engines.look_meter import LookMeter, measure_looks, visible_of
from engines.registry import open_engine
from pipeline.config.sections import DriftSection
from pipeline.protocol.event import Event
from pipeline.protocol.verdict import Outcome, Verdict
from pipeline.publish.camera_drift import CameraDrift, Mark
from tests.calibration.changes import CHANGES, Change
from tests.pipeline.parts import decide

POOL, SCORED, STREAM, RAMP = 120, 24, 20_000, 500
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LOT, OF_LOT = 200, 20
Values = npt.NDArray[np.float64]


class Parts:
    """Good parts of a data set that the watch was not measured on, and what measures them."""

    def __init__(self, bundle: Bundle, data: Path) -> None:
        dataset = open_dataset(data)
        train, size = [one.path for one in dataset.train], bundle.size
        known = [train[::2][index] for index in some_of(len(train[::2]))]
        visible = visible_of(bundle)
        self.size, self.rng = size, np.random.default_rng(0)
        reference = measure_looks([self.seen(read_image(path)) for path in known], visible)
        self.bundle = dataclasses.replace(
            bundle, manifest=bundle.manifest.model_copy(update={"looks": reference.looks})
        )
        self.meter = LookMeter(reference.template, visible)
        others = [*train[1::2], *(one.path for one in dataset.test if not one.defective)]
        picks = self.rng.permutation(len(others))[:POOL]
        self.images = [read_image(others[index]) for index in picks]

    def seen(self, image: Image) -> Image:
        """Returns a picture at the network's size, under a lamp that flickers by half a percent, with some noise."""
        frame = resize_frame(image, self.size) * self.rng.normal(1, 0.005)
        return np.clip(np.rint(frame + self.rng.normal(0, 0.5, (*self.size, 3))), 0, 255).astype(np.uint8)

    def measure(self, image: Image) -> Values:
        return self.meter.measure(self.seen(image))

    def score(self, change: Change) -> Values:
        """Scores parts at all strengths, `[strengths, parts]`."""
        found = []
        with open_engine(self.bundle, precision=EXACT, max_batch=8, measure=False) as engine:
            for part in STRENGTHS:
                images = [resize_frame(change(image, part), self.size) for image in self.images[:SCORED]]
                found.append(np.concatenate([engine.infer(np.stack(images[at : at + 8])).score
                                             for at in range(0, SCORED, 8)]))  # fmt: skip
        return np.asarray(found, np.float64)


class Watched:
    """A camera's watch, fed by hand."""

    def __init__(self, bundle: Bundle) -> None:
        self.threshold = bundle.manifest.threshold.value
        self.watch = CameraDrift("line", "top", bundle, DriftSection().parts_per_false_alarm)
        self.events: list[Event] = []

    def add(self, sequence: int, values: Values, frame: tuple[int, int], score: float) -> None:
        self.events += self.watch.look(values, frame, Mark(sequence, sequence))
        outcome: Outcome = "ok" if score <= self.threshold else "ng"
        plain: Verdict = decide("top", sequence, outcome, captured_at=sequence + 1).verdict
        self.events += self.watch.judge(dataclasses.replace(plain, score=score, threshold=self.threshold))

    @property
    def told(self) -> list[Event]:
        return [event for event in self.events if event.kind == "moved"]


def cost_ms(parts: Parts, times: int) -> float:
    """Returns the processor time that the watch takes for a frame so many times as high and as wide."""
    size = parts.size[0] * times, parts.size[1] * times
    frames = [resize_frame(image, size) for image in parts.images[:20]]
    watched, began = Watched(parts.bundle), time.process_time()
    for sequence in range(400):
        watched.add(sequence, parts.meter.measure(frames[sequence % len(frames)]), size, 0.0)
    return (time.process_time() - began) / 400 * 1e3


def undisturbed(parts: Parts, table: Values, lots: bool) -> tuple[list[Event], Values]:
    """Returns the false alarms of 20,000 parts, and the stream itself."""
    watched, rng = Watched(parts.bundle), np.random.default_rng(1)
    scores = np.array(parts.bundle.manifest.statistics.scores)
    rows, drawn_scores = [], []
    for start in range(0, STREAM, LOT):
        few = rng.integers(0, len(table), OF_LOT if lots else len(table) * 4)
        few_scores = rng.integers(0, len(scores), OF_LOT if lots else len(scores) * 4)
        for sequence in range(start, start + LOT):
            rows.append(table[rng.choice(few)][rng.integers(0, table.shape[1])])
            drawn_scores.append(scores[rng.choice(few_scores)])
            watched.add(sequence, rows[-1], parts.size, float(drawn_scores[-1]))
    return watched.told, np.column_stack([rows, drawn_scores])


def disturbed(parts: Parts, change: Change, at: Values | None) -> tuple[Watched, Values]:
    """Returns what was told while the change grew over 500 parts and 300 more passed."""
    watched, rng = Watched(parts.bundle), np.random.default_rng(2)
    scores = np.array(parts.bundle.manifest.statistics.scores)
    rows = []
    for sequence in range(RAMP + 300):
        part = min(1.0, sequence / RAMP)
        image = parts.images[rng.integers(0, len(parts.images))]
        values = parts.measure(change(image, part))
        score = float(rng.choice(scores))
        if at is not None:
            # What the change adds to the score of one of the parts.
            one = at[:, rng.integers(0, at.shape[1])]
            score += float(np.interp(part, STRENGTHS, one - one[0]))
        rows.append([*values, score])
        watched.add(sequence, values, image.shape[:2], score)
    return watched, np.array(rows)


def main() -> None:
    """Prints the table, a row for each state."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--without-scores", action="store_true", help="run no network: scores stay as they were")
    parser.add_argument("--streams", type=Path, help="write the streams to this file, for tests.calibration.detectors")
    arguments = parser.parse_args()
    began = time.monotonic()
    parts = Parts(open_bundle(arguments.bundle), arguments.data)
    looks = parts.bundle.manifest.looks
    assert looks is not None
    print(", ".join(f"{name} {trait.mean:.3f} +- {trait.spread:.4f}" for name, trait in looks.traits.items()))
    for times in (1, 2, 3):
        print(f"a frame of {parts.size[0] * times} px: {cost_ms(parts, times):.2f} ms of processor time")
    table = np.stack([[parts.measure(image) for _ in range(8)] for image in parts.images])
    kept: dict[str, Any] = {
        "names": [*looks.traits],
        "units": [(one.mean, one.spread) for one in looks.traits.values()],
    }
    for lots in (False, True):
        alarms, stream = undisturbed(parts, table, lots)
        kept["lots" if lots else "mixed"] = stream
        print(f"{STREAM} undisturbed parts {'in lots' if lots else 'mixed'}: {len(alarms)} false alarms", flush=True)
        for event in alarms:
            print(f"   {event.sequence}: {event.words} ({event.level:.2f})")
    for name, change in CHANGES.items():
        watched, stream = disturbed(parts, change, None if arguments.without_scores else parts.score(change))
        kept[name] = stream
        told = [f"{event.sequence}: {event.words} (since {event.since_sequence})" for event in watched.told]
        end = "; ".join(moved["words"] for moved in watched.watch.status()["moved"])
        print(f"{name} | {'; '.join(told) or 'not told'} | at the end: {end}", flush=True)
    if arguments.streams is not None:
        np.savez(arguments.streams, **kept)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
