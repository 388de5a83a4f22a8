"""What speaks for a candidate: how it judges beside a line's bundle, and the line's labelled parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from calibration.better import Pace
from calibration.comparison import BATCH, Candidate, Comparison, Judged, Rejects, by_score, compare_bundles
from calibration.progress import Reporter
from engines.apart import EngineApart, Way
from engines.bundle import MODEL_F32, Bundle, open_bundle
from engines.engine import EXACT, Engine
from engines.errors import ConfigError, TaktlineError
from pipeline.config.sections import DecisionSection
from pipeline.line.regions import RegionRule
from pipeline.protocol.orders import MOST_SHADOW_PARTS, Answer, Order
from taktline.cli.signals import on_signals
from taktline.cli.stored import FromJournal

_POLL_S, _PATIENCE_S = 0.3, 10.0
_INTERRUPTED = 130
_MOST_LABELLED = 1000


@dataclass
class Proof:
    """A running line, a candidate for it, and what is found about it.

    Attributes:
        tell: gives the line an order.
        new: the candidate.
        stored: chooses among the pictures of the journal.
        status: of the line, before anything else.
        shadow_status: of the shadow run, once it is over.
    """

    tell: Callable[[Order], Answer]
    new: Bundle
    stored: FromJournal
    status: dict[str, Any]
    shadow_status: dict[str, Any] | None = None

    @classmethod
    def of(cls, tell: Callable[[Order], Answer], bundle: Path, stored: FromJournal) -> Proof:
        """Asks the line for its status.

        Raises:
            TaktlineError: the bundle cannot be opened, or the line does not answer.
        """
        new = open_bundle(bundle)
        return cls(tell, new, stored, tell(Order(do="status"))["status"])

    @property
    def journal(self) -> Path:
        """The journal with the labelled parts.

        Raises:
            ConfigError: there is none.
        """
        journal = self.stored.journal or self.status["places"]["journal"]
        if journal is None:
            raise ConfigError("--if-better needs labelled parts, and the line has no journal; give one with --journal")
        if not Path(journal).is_file():
            raise ConfigError(
                f"--if-better needs labelled parts, and there is no journal {journal} on this machine; run it on the "
                "line's, or give --journal"
            )
        return Path(journal)

    @property
    def old(self) -> Bundle:
        """The bundle that the line runs.

        Raises:
            TaktlineError: it is not on this machine.
        """
        path = Path(self.status["places"]["bundle"])
        if not path.is_dir():
            raise ConfigError(f"the line's bundle {path} is not on this machine; run --if-better on the line's")
        bundle = open_bundle(path)
        if bundle.short_id != self.status["bundle"]:
            raise ConfigError(
                f"{path} holds another bundle by now than the line runs ({bundle.short_id}, not "
                f"{self.status['bundle']}); deploy a bundle from a folder that stays as it is, and try again"
            )
        return bundle

    @property
    def miss_costs(self) -> float | None:
        """What a miss costs as the bundles know it: they were calibrated for that."""
        for bundle in (self.old, self.new):
            if bundle.manifest.threshold.rule == "cost":
                return bundle.manifest.threshold.parameter
        return None

    def shadow(self, count: int, report: Reporter) -> Comparison:
        """Lets the candidate judge parts beside the line's bundle, and waits for it.

        Raises:
            TaktlineError: the line refuses, or the run ended before it was done.
            Exit: the user ended it, and the run with it.
        """
        interrupted = threading.Event()
        order = Order(do="shadow", bundle=str(self.new.path.resolve()), parts=count)
        with on_signals(interrupted.set):
            self.tell(order)
            found = self._report(MOST_SHADOW_PARTS)["shadow"]
            try:
                while found["state"] in {"opening", "running"} and not interrupted.wait(_POLL_S):
                    found = self._report(MOST_SHADOW_PARTS)["shadow"]
                    report("shadow", found["judged"], count)
            finally:
                if found["state"] in {"opening", "running"}:
                    self._ask(Order(do="cancel-shadow"))
            if interrupted.is_set():
                raise typer.Exit(_INTERRUPTED)
        if found["state"] != "done":
            raise TaktlineError(
                f"the shadow run ended after {found['judged']} of {count} parts: {found['reason']}; the line runs on "
                "as before"
            )
        self.shadow_status = found
        return self._comparison(found)

    def labelled(self, report: Reporter) -> tuple[Comparison, tuple[Judged, ...]]:
        """Judges the journal's newest labelled parts with both bundles, where nothing else wants the processor.

        Returns:
            All of them, a thousand at most, and those that the line accepted and that a person says are good.

        Raises:
            TaktlineError: there are none, or a bundle or picture cannot be used.
        """
        pictures, _ = replace(self.stored, journal=self.journal).pictures()
        known = [one for one in pictures if one.truth is not None][-_MOST_LABELLED:]
        if not known:
            raise ConfigError(f"no picture in {self.journal} has a label; label some with: taktline journal label")
        parts = [Candidate(one.name, one.path, one.truth == "defective") for one in known]
        settings = DecisionSection.model_validate(self.status["decision"])
        old = self.old
        rules = (
            _rule(old, settings, self.status["threshold"]),
            _rule(self.new, settings, settings.sigma),
        )
        found = compare_bundles(old, self.new, parts, report, rules=rules, opener=_open_apart)
        accepted = tuple(
            judged
            for judged, one in zip(found.parts, known, strict=True)
            if one.verdict == "ok" and one.truth == "good"
        )
        return replace(found, notes=(f"Labelled parts of {self.journal}.",)), accepted

    def pace(self, found: Comparison) -> Pace:
        """Returns how fast the candidate is, as a comparison measured it."""
        same = self.old.manifest.files[MODEL_F32] == self.new.manifest.files[MODEL_F32]
        period = None if self.shadow_status is None else self.shadow_status["period_ms"]
        return Pace(*found.cost_ms, period, self.status["takt_ms"], same)

    @staticmethod
    def everyday(parts: Sequence[Judged]) -> tuple[int, int, int]:
        """Counts parts that only the old bundle rejects, those that only the new one does, and all."""
        rejected = [one.rejected for one in parts]
        return rejected.count((True, False)), rejected.count((False, True)), len(rejected)

    def deploy(self) -> None:
        """Switches the line to the candidate, unless its folder holds another one by now.

        Raises:
            TaktlineError: the line refuses.
        """
        self.tell(Order(do="deploy", bundle=str(self.new.path.resolve()), sha256=self.new.sha256))

    def _report(self, start: int) -> Answer:
        found = self._ask(Order(do="report-shadow", start=start))
        if found["shadow"]["bundle"] != self.new.short_id:
            raise TaktlineError("somebody has begun another shadow run on this line; try again when it is over")
        return found

    def _ask(self, order: Order) -> Answer:
        """Gives an order that changes nothing if it is given twice; a busy machine may need more than one try."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self.tell(order)
            except TaktlineError:
                if time.monotonic() > until:
                    raise
            time.sleep(_POLL_S)

    def _comparison(self, status: dict[str, Any]) -> Comparison:
        parts: list[dict[str, Any]] = []
        start: int | None = 0
        while start is not None:
            page = self._report(start)
            parts += page["parts"]
            start = page["next"]
        cost, total = status["cost_ms"], status["judged"] + status["skipped"]
        note = (
            f"{status['judged']} parts as they came, judged beside the running bundle; for {status['skipped']} of "
            f"{total} the takt left no time."
        )
        bundles = (status["beside"], status["bundle"])
        judged = tuple(_judged(part) for part in parts)
        return Comparison(self.new.manifest.category, bundles, judged, (cost["old"], cost["new"]), (note,))


def _judged(part: dict[str, Any]) -> Judged:
    (old, new), (rejected_old, rejected_new) = part["scores"], part["ng"]
    tiles = None if part["picture"] is None else (part["picture"], part["overlay"])
    name = f"{part['camera']} {part['sequence']}"
    return Judged(Candidate(name, None, None), (old, new), (rejected_old, rejected_new), tiles)


def _open_apart(bundle: Bundle) -> Engine:
    # The line may run on the same processor.
    return EngineApart(bundle, [Way(precision=EXACT, max_batch=BATCH)], to_all=True)


def _rule(bundle: Bundle, settings: DecisionSection, threshold: float | None) -> Rejects:
    """Rejects what a line with these settings would."""
    regions, by_its_score = RegionRule.read(bundle, settings), by_score(bundle, threshold)
    return lambda score, heat, shape: (
        by_its_score(score, heat, shape) or bool(regions is not None and regions.find(heat, shape))
    )
