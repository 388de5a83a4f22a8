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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from calibration.dataset import open_dataset
from calibration.looks import some_of
from engines.bundle import Bundle, open_bundle
from engines.engine import EXACT
from engines.image import Image, multiply, read_image, resize_frame
from engines.look_meter import LookMeter, measure_looks, visible_of
from engines.registry import open_engine
from pipeline.config.sections import DriftSection
from pipeline.protocol.event import Event
from pipeline.protocol.verdict import Verdict
from pipeline.publish.camera_drift import CameraDrift, Mark
from tests.calibration.disturbed import moved
from tests.pipeline.parts import decide

POOL, SCORED, STREAM, RAMP = 120, 24, 20_000, 500
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LOT, OF_LOT = 200, 20
Values = npt.NDArray[np.float64]
Change = Callable[[Image, float], Image]


def lit(blue: float, green: float, red: float) -> Change:
    return lambda image, part: multiply(image, (1 + part * blue, 1 + part * green, 1 + part * red))


def defocused(image: Image, part: float) -> Image:
    sigma = 0.002 * part * image.shape[1]
    return image if sigma < 0.05 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def dusty(image: Image, part: float) -> Image:
    """Thirty specks on the window in front of the lens, each always in its place."""
    height, width = image.shape[:2]
    rng, specks = np.random.default_rng(3), np.zeros((height, width), np.float32)
    for _ in range(30):
        x, y = rng.integers(0, width), rng.integers(0, height)
        cv2.circle(specks, (int(x), int(y)), max(1, round(rng.uniform(0.003, 0.008) * width)), 1.0, -1)
    specks = np.asarray(cv2.GaussianBlur(specks, (0, 0), 0.002 * width), np.float32)
    return np.rint(image * (1 - 0.6 * part * specks[..., None])).astype(np.uint8)


STATES: dict[str, Change] = {
    "20 % darker": lit(-0.2, -0.2, -0.2),
    "20 % brighter": lit(0.2, 0.2, 0.2),
    "warmer (blue x 0.88, red x 1.12)": lit(-0.12, 0.0, 0.12),
    "defocused (0.2 % of the width)": defocused,
    "shifted by 3 % of the width": lambda image, part: moved(0.03 * part, 0.0)(image),
    "rotated by 2 degrees": lambda image, part: moved(0.0, -2.0 * part)(image),
    "dust": dusty,
}


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
        if score <= self.threshold:
            plain: Verdict = decide("top", sequence, captured_at=sequence + 1).verdict
            verdict = dataclasses.replace(plain, score=score, threshold=self.threshold)
            self.events += self.watch.judge(verdict)

    @property
    def told(self) -> list[Event]:
        return [event for event in self.events if event.kind == "moved"]


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
    for name, change in STATES.items():
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
