"""Turns scores into verdicts: applies the thresholds and finds the regions of a defect. No threads."""

from __future__ import annotations

import numpy as np

from engines.bundle import Bundle
from engines.engine import EXACT, Engine, Scores
from pipeline.config.sections import DecisionSection
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.decided import Decided, SigmaMap
from pipeline.flow.frame import Frame
from pipeline.line.regions import RegionRule, find_regions
from pipeline.protocol.verdict import Heatmap, Latency, Outcome, Reason, Region, Verdict


class Judge:
    """Applies a bundle's thresholds and heatmap scale to scores.

    Raises:
        ConfigError: a region is to decide, too, and the bundle was calibrated without.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, settings: DecisionSection, line: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._bundle, self._settings, self._line = bundle, settings, line
        self._engine, self._clock = engine, clock
        manifest = bundle.manifest
        self.threshold = manifest.threshold.value if settings.sigma is None else settings.sigma
        self.scale = manifest.heatmap
        self._region_rule = RegionRule.read(bundle, settings)

    def inspected(self, frame: Frame, scores: Scores, row: int) -> Decided:
        """Judges a scored frame, which is one row of its batch.

        If the threshold was moved after the batch was scored, the new one applies. The verdict is then exact only if
        the score itself is: a second look near the old threshold says nothing about the new one.

        Where a region decides as well, a part whose score alone does not make it defective depends on its heatmap. The
        second look is about the score, so the verdict is then exact only if the heatmap is float32's.
        """
        threshold = self.threshold
        score, sigma = float(scores.score[row]), scores.heatmap[row]
        # Another engine may have taken over since; what computed the score is what the verdict names.
        engine = scores.engine or self._engine.name
        precision = EXACT if scores.rescored[row] else scores.precision or self._engine.precision
        same = scores.threshold is None or scores.threshold == threshold
        exact = bool(scores.rescored[row] or (scores.exact[row] and same))
        if not np.isfinite(score):
            return self.uninspected(frame, "engine_error")
        image, rule = frame.image, self._region_rule
        height, width = self._bundle.size if image is None else image.shape[:2]
        outcome: Outcome = "ng" if score > threshold else "ok"
        regions: tuple[Region, ...] = ()
        if outcome == "ng" and image is not None:
            regions = find_regions(sigma, self.scale.threshold, (height, width), self._settings.min_region_px)
        if outcome == "ok" and rule is not None:
            regions = rule.find(sigma, (height, width))
            outcome = "ng" if regions else "ok"
            exact = exact and precision == EXACT
        wanted = self._settings.heatmaps == "all" or (self._settings.heatmaps == "ng" and outcome == "ng")
        heatmap = Heatmap.from_sigma(sigma, 0.0, self.scale.full_scale) if wanted else None
        return self._decide(frame, outcome, None, score, regions, sigma, heatmap, engine, precision, exact, threshold)

    def uninspected(self, frame: Frame, reason: Reason) -> Decided:
        """Answers for a frame that could not be inspected."""
        engine = self._engine
        return self._decide(
            frame, "uninspected", reason, None, (), None, None, engine.name, engine.precision, False, self.threshold
        )

    def _decide(
        self,
        frame: Frame,
        outcome: Outcome,
        reason: Reason | None,
        score: float | None,
        regions: tuple[Region, ...],
        sigma: SigmaMap | None,
        heatmap: Heatmap | None,
        engine: str,
        precision: str,
        exact: bool,
        threshold: float,
    ) -> Decided:
        now = self._clock.monotonic_ns()
        batched = frame.batched or now
        inferred = frame.inferred or batched
        verdict = Verdict(
            line=self._line,
            camera=frame.camera,
            sequence=frame.sequence,
            verdict=outcome,
            reason=reason,
            score=score,
            threshold=threshold,
            regions=regions,
            part=frame.part,
            captured_at=frame.captured_at,
            latency=Latency(batched - frame.captured, inferred - batched, now - inferred, 0),
            engine=engine,
            precision=precision,
            exact=exact,
            bundle=self._bundle.short_id,
        )
        return Decided(frame, verdict, sigma, heatmap, now)
