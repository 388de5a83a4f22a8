"""The drift watch's test against those of river, on the same streams of real parts.

By hand, where river is installed: `python -m tests.calibration.detectors STREAMS.npz`, with a file that
`tests.calibration.drifting --streams` wrote. Every detector gets each quantity in standard deviations of good parts. Of
its settings, the most sensitive one counts that raises at most two false alarms in 20,000 mixed parts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.looks import QUANTITIES
from pipeline.flow.cusum import Cusum

MOST_FALSE = 2
Values = npt.NDArray[np.float64]


class Ours:
    """The watch's test behind the interface of river."""

    def __init__(self, values_per_alarm: float) -> None:
        self._test, self._count = Cusum[int](values_per_alarm), 0
        self.drift_detected = False

    def update(self, value: float) -> None:
        change = self._test.add(value, self._count)
        self._count += 1
        self.drift_detected = change is not None and change.kind == "moved"


def methods() -> dict[str, list[partial[Any]]]:
    """Each detector with its settings, the most sensitive first."""
    from river.drift import ADWIN, KSWIN, PageHinkley

    return {
        "CUSUM": [partial(Ours, every) for every in (1e4, 1e5, 1e6)],
        "Page-Hinkley": [partial(PageHinkley, delta=0.5, threshold=limit) for limit in (10, 15, 20, 30, 50, 80)],
        "ADWIN": [partial(ADWIN, delta=delta) for delta in (1e-2, 1e-3, 1e-5, 1e-7, 1e-10, 1e-15)],
        "KSWIN": [partial(KSWIN, alpha=alpha, seed=1) for alpha in (1e-5, 1e-7, 1e-9)],
    }


def alarms(make: Callable[[], Any], stream: Values) -> tuple[list[int], float]:
    """Returns with which parts a detector of any of the columns raised an alarm, and microseconds a value."""
    began, found = time.process_time(), []
    for column in stream.T:
        detector = make()
        for index, value in enumerate(column.tolist()):
            detector.update(value)
            if detector.drift_detected:
                found.append(index)
    return sorted(found), 1e6 * (time.process_time() - began) / stream.size


def main() -> None:
    """Prints a row for each detector."""
    parser = argparse.ArgumentParser()
    parser.add_argument("streams", type=Path)
    arguments = parser.parse_args()
    kept = np.load(arguments.streams)
    columns = [QUANTITIES.index(name) for name in kept["names"].tolist()]
    mean, std = kept["units"].T

    def told_in_units(stream: Values) -> Values:
        return np.asarray((stream[:, columns] - mean) / std, np.float64)

    states = [name for name in kept.files if name not in {"names", "units", "mixed", "lots"}]
    print("detector | false alarms mixed | in lots | us a value | " + " | ".join(states))
    for name, settings in methods().items():
        for make in settings:
            mixed, cost = alarms(make, told_in_units(kept["mixed"]))
            if len(mixed) <= MOST_FALSE:
                break
        lots, _ = alarms(make, told_in_units(kept["lots"]))
        first = [next(iter(alarms(make, told_in_units(kept[state]))[0]), None) for state in states]
        shown = " | ".join("-" if one is None else str(one) for one in first)
        print(f"{name} {make.args or make.keywords} | {len(mixed)} | {len(lots)} | {cost:.1f} | {shown}", flush=True)


if __name__ == "__main__":
    main()
