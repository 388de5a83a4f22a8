"""The shadow run of a line: one at a time, begun and ended by orders."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from engines.apart import EngineApart, Way
from engines.bundle import Bundle
from engines.candidates import AUTO
from engines.closing import Closing
from engines.engine import Engine
from engines.errors import ConfigError
from pipeline.config.line_file import LineConfig
from pipeline.flow.clock import Clock
from pipeline.flow.decided import Decided
from pipeline.line.judge import Judge
from pipeline.line.model import ModelSlot
from pipeline.line.regions import RegionRule
from pipeline.line.service_time import ServiceTime
from pipeline.line.shadow import Beside, ShadowRun

log = logging.getLogger(__name__)


class HasDepth(Protocol):
    """A queue that tells how many wait in it."""

    @property
    def depth(self) -> int: ...


class Shadows(Closing):
    """Holds the current shadow run, or the last one until another begins; safe to use from any thread.

    Args:
        config: the line's settings.
        slot: holds the running model.
        service_time: knows whether the engine is idle.
        waiting: the queues before it.
        clock: tells the time.
    """

    def __init__(
        self, config: LineConfig, slot: ModelSlot, service_time: ServiceTime, waiting: Sequence[HasDepth], clock: Clock
    ) -> None:
        self._config, self._slot, self._clock = config, slot, clock
        self._service_time, self._waiting = service_time, waiting
        self._changing = threading.Lock()
        self._closed = False
        self.current: ShadowRun | None = None

    def start(self, bundle: Bundle, count: int) -> None:
        """Begins a shadow run.

        Raises:
            ConfigError: one is under way, the line was closed, or the bundle runs already.
            TaktlineError: the bundle cannot be judged by the line's settings.
        """
        running = self._slot.current
        if bundle.sha256 == running.bundle.sha256:
            raise ConfigError(f"{bundle.path} is the bundle that the line runs; give another one")
        RegionRule.read(bundle, self._config.decision)
        config, times = self._config, self._service_time
        ways = _ways(config, running.engine)
        beside = Beside(
            running.bundle,
            lambda other, stop: EngineApart(other, ways, stop),
            lambda other, engine: Judge(other, engine, config.decision, config.line.name, self._clock),
            lambda: times.last_done if times.idle and not any(queue.depth for queue in self._waiting) else None,
            lambda: times.measured(1),
        )
        with self._changing:
            if self.current is not None and self.current.state in {"opening", "running"}:
                raise ConfigError(
                    f"a shadow run of {self.current.bundle.path} is under way; wait for it, or end it with: "
                    f"taktline tell {config.line.name} cancel-shadow"
                )
            if self._closed:
                raise ConfigError("the line is ending")
            self.current = ShadowRun(bundle, count, beside, self._clock)
            self.current.start()

    def end(self, reason: str) -> None:
        """Ends the shadow run if there is one under way."""
        if self.current is not None:
            self.current.end(reason)

    def offer(self, decided: Decided) -> None:
        """Offers the run a frame whose verdict is out; see `ShadowRun.offer`. Never raises."""
        run = self.current
        if run is None:
            return
        try:
            run.offer(decided)
        except Exception as error:
            # The line publishes on this thread, which must go on.
            log.exception("the shadow run failed")
            run.end(f"it failed: {error}")

    def status(self) -> dict[str, Any] | None:
        """Describes the run, also after its end; None if there was none."""
        return None if self.current is None else self.current.status()

    def report(self, start: int) -> dict[str, Any]:
        """Returns the run's state and its parts, from some place on; see `ShadowRecord.page`.

        Raises:
            ConfigError: there was no shadow run.
        """
        run = self.current
        if run is None:
            raise ConfigError("the line has had no shadow run; begin one with: taktline deploy BUNDLE --shadow 500")
        status = run.status()
        parts, following = run.record.page(start)
        return {"shadow": status, "parts": parts, "next": following}

    def close(self, deadline: float | None = None) -> None:
        """Ends the run.

        Raises:
            TimeoutError: it does not end in time.
        """
        with self._changing:
            self._closed = True
        if self.current is not None:
            self.current.close(deadline)


def _ways(config: LineConfig, engine: Engine) -> list[Way]:
    """How a candidate's engine is opened: as the line's own was if it can be, and otherwise by the line's settings."""
    model, sigma = config.model, config.decision.sigma
    wanted = Way(model.engine, model.precision, 1, model.device, model.hint, sigma)
    choice = engine.choice
    if AUTO not in {model.engine, model.precision} or choice is None:
        return [wanted]
    chosen = choice.chosen
    return [Way(chosen.engine, chosen.precision, 1, chosen.device, model.hint, sigma), wanted]
