"""Times candidates against one another on this machine, within a budget of seconds."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future

import numpy as np

from engines.choice import Candidate
from engines.engine import EXACT, Engine, Frames, Scores
from engines.errors import TaktlineError
from engines.foreign import translated
from engines.hint import Hint

log = logging.getLogger(__name__)

BUDGET_S = 15.0
# What remains of the budget is for measuring in turns.
_OPENING_S = 10.0
_EACH_S = 1.0
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 10
_RUNS = 3
# A candidate this many times slower than the best at first is not measured further.
_HOPELESS = 2.0

# An engine, a device, and one precision.
Part = tuple[str, str, str]
Opener = Callable[[Part], Engine]
ExactDevice = Callable[[str, str], str]


class Trial:
    """Measures candidates by their parts: an engine in one precision, and one in float32 for second looks.

    Every part is opened once and timed at once. Then all parts run in turns, so that other load on the machine affects
    each alike. The medians count.

    Args:
        opener: opens a part for batches of `batch` frames.
        exact_device: returns the device of the second look for an engine and its device.
        batch: frames in a batch.
        hint: `latency` times single batches, `throughput` several in flight.
        budget_s: seconds for everything. If they run out while a part is being opened, the trial waits for it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        opener: Opener,
        exact_device: ExactDevice,
        batch: int,
        hint: Hint,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._opener, self._exact_device, self._batch, self._hint = opener, exact_device, batch, hint
        self._budget_s, self._clock, self._began = budget_s, clock, clock()
        self._engines: dict[Part, Engine] = {}
        self._times: dict[Part, list[float]] = {}
        self._failed: dict[Part, str] = {}
        self._frames: dict[tuple[int, int], Frames] = {}

    @property
    def seconds(self) -> float:
        """How long the trial has taken so far."""
        return self._clock() - self._began

    def run(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Returns the candidates, each with its rate or the reason why it has none. Closes all engines."""
        try:
            opened = list(self._open(candidates))
            self._take_turns(opened)
        finally:
            for engine in self._engines.values():
                engine.close()
        return [self._judged(candidate) for candidate in opened]

    def _open(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        limit = min(_OPENING_S, self._budget_s * _OPENING_S / BUDGET_S)
        found = False
        for candidate in candidates:
            # Something must be chosen, however long it takes. Float32 may already be open for second looks.
            ready = all(part in self._engines or part in self._failed for part in self._parts(candidate))
            if candidate.left_out is None and self.seconds >= limit and found and not ready:
                yield candidate.model_copy(update={"left_out": f"the {self._budget_s:g} s for measuring had run out"})
                continue
            if candidate.left_out is None:
                for part in self._parts(candidate):
                    self._open_part(part)
                found = found or self._rate(candidate) is not None
            yield candidate

    def _open_part(self, part: Part) -> None:
        if part in self._engines or part in self._failed:
            return
        try:
            with translated("it cannot be opened"):
                self._engines[part] = self._opener(part)
            self._turn(part)
        except TaktlineError as error:
            self._failed[part] = str(error)

    def _take_turns(self, candidates: list[Candidate]) -> None:
        rates = {candidate: self._rate(candidate) or 0.0 for candidate in candidates}
        best = max(rates.values(), default=0.0)
        parts = list(
            dict.fromkeys(
                part
                for candidate, rate in rates.items()
                if rate and rate * _HOPELESS >= best
                for part in self._parts(candidate)
            )
        )
        # A single candidate needs no comparison.
        if sum(rate > 0 for rate in rates.values()) < 2:
            return
        began = self._clock()
        for taken in range(_MOST_ROUNDS):
            spent = self._clock() - began
            if self.seconds >= self._budget_s or (taken >= _LEAST_ROUNDS and spent >= _EACH_S * len(parts)):
                return
            for part in [part for part in parts if part not in self._failed]:
                try:
                    self._turn(part)
                except TaktlineError as error:
                    self._failed[part] = str(error)

    def _turn(self, part: Part) -> None:
        """Runs a part for a moment and records how many seconds a batch takes."""
        engine = self._engines[part]
        frames = self._frames_for(engine.size)
        with translated("it cannot run"):
            times = self._times.setdefault(part, [])
            if self._hint == "latency":
                # The previous part has filled the caches, and its threads may still be awake.
                engine.infer(frames)
                for _ in range(_RUNS):
                    started = self._clock()
                    engine.infer(frames)
                    times.append(self._clock() - started)
            else:
                started = self._clock()
                futures: list[Future[Scores]] = [engine.submit(frames) for _ in range(engine.jobs + 1)]
                for future in futures:
                    future.result()
                times.append((self._clock() - started) / len(futures))

    def _frames_for(self, size: tuple[int, int]) -> Frames:
        if size not in self._frames:
            shape = (self._batch, *size, 3)
            self._frames[size] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return self._frames[size]

    def _parts(self, candidate: Candidate) -> tuple[Part, ...]:
        fast, _, exact = candidate.precision.partition("+")
        part = (candidate.engine, candidate.device, fast)
        if not exact:
            return (part,)
        return part, (candidate.engine, self._exact_device(candidate.engine, candidate.device), EXACT)

    def _rate(self, candidate: Candidate) -> float | None:
        """Images a second, with as many second looks as good parts need; None if left out or failed."""
        if candidate.left_out is not None or any(part in self._failed for part in self._parts(candidate)):
            return None
        seconds = [statistics.median(self._times[part]) for part in self._parts(candidate)]
        batch_s = seconds[0] + candidate.share * sum(seconds[1:])
        return self._batch / max(batch_s, 1e-9)

    def _judged(self, candidate: Candidate) -> Candidate:
        if candidate.left_out is not None:
            return candidate
        rate = self._rate(candidate)
        if rate is not None:
            return candidate.model_copy(update={"images_per_s": round(rate, 2)})
        reasons: Mapping[Part, str] = self._failed
        reason = next(reasons[part] for part in self._parts(candidate) if part in reasons)
        return candidate.model_copy(update={"left_out": reason})
