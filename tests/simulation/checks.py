"""What a line promises, checked on every answer of a simulated day as it leaves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from pipeline.flow.decided import Decided
from pipeline.protocol.verdict import Verdict
from tests.simulation.devices import Truth


class Checks:
    """Raises `AssertionError` at the first answer that breaks a promise.

    Args:
        truth: what the scores should be.
        takt_ns: of the line.

    Attributes:
        reasons: how many frames were answered so; None for those that were inspected.
        engines: how many scores came from which kind of engine.
        exact: verdicts that claim to be exact.
        calm: whether frames were inspected that came alone while nothing was wrong.
        calm_exact: whether the verdicts of those that were are exact.
    """

    def __init__(self, truth: Truth, takt_ns: int) -> None:
        self._truth, self._takt_ns = truth, takt_ns
        self._next: defaultdict[str, int] = defaultdict(int)
        self.reasons: Counter[str | None] = Counter()
        self.engines: Counter[str] = Counter()
        self.exact = 0
        self.calm: Counter[bool] = Counter()
        self.calm_exact: Counter[bool] = Counter()

    def check(self, decided: Decided, now: int, calm: bool) -> None:
        """Checks an answer.

        Args:
            decided: the answer.
            now: when it leaves, monotonic nanoseconds.
            calm: whether its frame came alone while nothing was wrong.
        """
        frame, verdict = decided.frame, decided.verdict
        self.reasons[verdict.reason] += 1
        assert verdict.sequence == self._next[frame.camera], "one answer a frame, in order"
        self._next[frame.camera] += 1
        assert now - frame.captured <= self._takt_ns, "within the takt"
        latency = verdict.latency
        assert min(latency.queue, latency.infer, latency.decide) >= 0, "clock steps change no latency"
        assert latency.queue + latency.infer + latency.decide == decided.decided - frame.captured
        assert (verdict.verdict == "uninspected") == (verdict.reason is not None) == (verdict.score is None)
        if decided.sigma is not None:
            self._check_score(verdict, *self._truth.of(decided.sigma))
        if calm and verdict.reason != "corrupt":
            self.calm[verdict.reason is None] += 1
            self.calm_exact[verdict.exact] += verdict.reason is None

    def check_whole(self, captured: Mapping[str, int]) -> None:
        """Checks, at the end, that every frame has its answer, and that the line recovered from every fault."""
        assert self._next == captured, "one answer a frame"
        assert self.calm[True] >= 0.97 * self.calm.total(), "a line that recovered inspects again"
        assert self.calm_exact[True] >= 0.97 * self.calm[True], "every engine looks again near the threshold of now"

    def _check_score(self, verdict: Verdict, exact: float, engine: str, precision: str) -> None:
        self.engines[engine.rstrip("0123456789")] += 1
        assert verdict.engine == engine, "what computed the score is named"
        assert verdict.precision in {precision, "f32"}
        if verdict.precision == "f32":
            assert verdict.score == exact
        if verdict.exact:
            self.exact += 1
            assert (exact > verdict.threshold) == (verdict.verdict == "ng"), "exact only where it is"
