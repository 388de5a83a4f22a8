"""What adapting is worth on real parts that look different: false alarms and AUROC before and after, many draws.

By hand: `python -m tests.calibration.disturbed BUNDLE DATA --state dark --state shift`.

It scores 60 good parts that the network was not trained on and 30 defective ones once, then adapts to many random draws
of the good ones with the functions that `taktline adapt` uses, and looks at the good parts that remain.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from calibration.dataset import Sample, open_dataset
from calibration.drift import each_by_the_others, estimate, stand_out
from calibration.fit import split_normals
from calibration.light import Gains, better_gains, brings_closer, find_gains, measure_appearance
from calibration.prediction import rejected_interval
from engines.bundle import Bundle, open_bundle
from engines.engine import EXACT, Engine, Frames
from engines.image import Image, multiply, read_image, resize_frame
from engines.registry import open_engine

GOOD, BAD, REFERENCE, DRAWS = 60, 30, 18, 200
Scores = npt.NDArray[np.float64]


def lit(blue: float, green: float, red: float) -> Callable[[Image], Image]:
    return lambda image: multiply(image, (blue, green, red))


def defocused(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.002 * image.shape[1]), np.uint8)


def moved(share: float, degrees: float) -> Callable[[Image], Image]:
    def move(image: Image) -> Image:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        matrix[0, 2] += share * width
        return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return move


STATES: dict[str, Callable[[Image], Image]] = {
    "none": lambda image: image,
    "dark": lit(0.8, 0.8, 0.8),
    "light": lit(1.1, 1.1, 1.1),
    "warm": lit(0.88, 1.0, 1.12),
    "defocus": defocused,
    "shift": moved(0.03, 0.0),
    "rotation": moved(0.0, 2.0),
}


def choose(bundle: Bundle, data: Path) -> tuple[list[Sample], list[Sample]]:
    """Good parts that the network was not trained on, the last of them as reference, and defective ones."""
    dataset = open_dataset(data)
    _, held_out = split_normals(len(dataset.train), bundle.manifest.training.seed)
    rng = np.random.default_rng(0)
    held = [dataset.train[index] for index in rng.permutation(held_out)]
    good = [sample for sample in dataset.test if not sample.defective][: GOOD - 35]
    bad = [sample for sample in dataset.test if sample.defective]
    used = [*held[: GOOD - len(good)], *good]
    mixed = [used[index] for index in rng.permutation(GOOD)]
    return [*mixed, *held[-REFERENCE:]], [bad[index] for index in rng.permutation(len(bad))[:BAD]]


def score(engine: Engine, frames: npt.NDArray[np.uint8]) -> Scores:
    parts = [engine.infer(frames[start : start + 8]).score for start in range(0, len(frames), 8)]
    return np.concatenate(parts).astype(np.float64)


def area(scores: Scores) -> float:
    return float(roc_auc_score(np.arange(len(scores)) >= GOOD, scores))


def adapted(scores: Scores, count: int, threshold: float, known: int) -> str:
    """What draws of so many good parts make of the parts that remain."""
    alarms, inside, found = [], [], []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(GOOD)
        used = scores[order[:count]]
        used = used[~stand_out(used)]
        kept = estimate(used, known).kept
        alarms.append(float(np.mean(scores[order[count:]] > kept.mean + threshold * kept.std)))
        rejected = int((each_by_the_others(used, known) > threshold).sum())
        low, high = rejected_interval(rejected, len(used))
        inside.append(low <= alarms[-1] <= high)
        found.append(np.mean(scores[GOOD:] > kept.mean + threshold * kept.std))
    many = np.mean(np.array(alarms) > 0.15)
    return (
        f"{count} parts: false alarms {np.mean(alarms):.1%} (more than 15 % in {many:.0%} of draws, within the stated "
        f"interval in {np.mean(inside):.0%}), defects found {np.mean(found):.0%}"
    )


def main() -> None:
    """Prints each state, before and after."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--state", action="append", choices=STATES)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    threshold, known = bundle.manifest.threshold.value, bundle.manifest.statistics.samples
    good, bad = choose(bundle, arguments.data)
    images = [read_image(sample.path) for sample in (*good[:GOOD], *bad)]
    light = measure_appearance([resize_frame(read_image(sample.path), bundle.size) for sample in good[-REFERENCE:]])
    with open_engine(bundle, precision=EXACT, max_batch=8, measure=False) as engine:
        for name in arguments.state or STATES:
            started = time.monotonic()
            frames = np.stack([resize_frame(STATES[name](image), bundle.size) for image in images])
            before = after = score(engine, frames)
            gains = nothing = (1.0, 1.0, 1.0)
            offers = find_gains(light, list(frames[:30]))
            if set(offers) != {nothing}:

                def scaled(gains: Gains, frames: Frames = frames) -> Scores:
                    return score(engine, multiply(frames[:16], gains))

                gains = better_gains(offers, scaled)
                lit_again = score(engine, multiply(frames, gains))
                if brings_closer(before[:30], lit_again[:30]):
                    after = lit_again
                else:
                    gains = nothing
            alarms = np.mean(before[:GOOD] > threshold)
            caught = np.mean(before[GOOD:] > threshold)
            print(f"{name}: AUROC {area(before):.3f}, false alarms {alarms:.0%}, defects found {caught:.0%}")
            good_now = after[:GOOD]
            print(
                f"   adapted: AUROC {area(after):.3f}; gains {', '.join(f'{gain:.3f}' for gain in gains)}; "
                f"good parts at {good_now.mean():.2f} with standard deviation {good_now.std():.2f}"
            )
            for count in (30, 9):
                print(f"   {adapted(after, count, threshold, known)}")
            print(f"   {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
