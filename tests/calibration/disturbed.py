"""What adapting is worth on real parts that look different: false alarms and AUROC before, during and after.

By hand: `python -m tests.calibration.disturbed BUNDLE DATA --change darker --change shifted`.

It scores 60 good parts that the network was not trained on and 30 defective ones once, then adapts to many random draws
of the good ones with the functions that `taktline adapt` uses, and looks at the good parts that remain.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

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
from engines.image import multiply, read_image, resize_frame
from engines.registry import open_engine
from tests.calibration.changes import CHANGES

GOOD, BAD, REFERENCE, DRAWS = 60, 30, 18, 200
Scores = npt.NDArray[np.float64]


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
    parser.add_argument("--change", action="append", choices=CHANGES)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    threshold, known = bundle.manifest.threshold.value, bundle.manifest.statistics.samples
    good, bad = choose(bundle, arguments.data)
    images = [read_image(sample.path) for sample in (*good[:GOOD], *bad)]
    light = measure_appearance([resize_frame(read_image(sample.path), bundle.size) for sample in good[-REFERENCE:]])
    with open_engine(bundle, precision=EXACT, max_batch=8, measure=False) as engine:
        for name in arguments.change or CHANGES:
            started = time.monotonic()
            for part in (0.0, 0.5, 1.0):
                frames = np.stack([resize_frame(CHANGES[name](image, part), bundle.size) for image in images])
                before = after = score(engine, frames)
                alarms, caught = np.mean(before[:GOOD] > threshold), np.mean(before[GOOD:] > threshold)
                found = f"false alarms {alarms:.0%}, defects found {caught:.0%}"
                print(f"{name} {part:4.0%}: AUROC {area(before):.3f}, {found}")
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
