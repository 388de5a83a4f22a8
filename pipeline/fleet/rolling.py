"""A rolling deploy: one line first, then twice as many at a time; back on all lines if one leaves its bounds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engines.bundle import Bundle
from pipeline.fleet.bounds import Bounds, Trial
from pipeline.fleet.fleet import Fleet, Reply
from pipeline.protocol.orders import Order

log = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0
# A line that misses one answer may be busy; one that misses so many is gone.
_MISSED = 3
# What the way back needs of a line's status is looked for before the line is touched.
_NEEDED = {"bundle", "cameras", "live", "places", "threshold"}

State = Literal["waiting", "switching", "watched", "new", "as before", "brought back", "left alone", "unknown"]


@dataclass
class LineState:
    """Where a roll-out has got with one line.

    Attributes:
        state: `waiting`; `switching` while it opens the new bundle; `watched` while parts pass; `new` once it has kept
            its bounds; `as before` if it never had the new bundle; `brought back`; `left alone` if somebody else gave
            it another one meanwhile; `unknown` if it does not answer.
        bundle: what it runs, as far as it said.
        passed: how many parts have passed with the new bundle.
        why: what is wrong with it; empty if nothing is.
    """

    state: State = "waiting"
    bundle: str = ""
    passed: int = 0
    why: str = ""


@dataclass(frozen=True)
class Limits:
    """How long lines may take.

    Attributes:
        answer_s: to tell their status.
        switch_s: to open a bundle and switch to it.
    """

    answer_s: float = 10.0
    switch_s: float = 600.0


class Stopped(Exception):
    """The roll-out ends here; the text says why."""


class RollOut:
    """Brings a bundle to lines, wave by wave. Each wave is watched before the next begins.

    If a line leaves its bounds, refuses, or does not answer, or if `stop` is set, every line that has got the bundle
    from this roll-out is brought back to the one that it ran before, with its threshold. Lines that run the new bundle
    already keep it.

    Args:
        fleet: gives the orders.
        bundle: the new bundle; see `Fleet.deploys`.
        bounds: what each line must keep to.
        other_part: whether the bundle may be made for another part.
        most_at_once: the largest wave; None to double without end.
        limits: how long lines may take; None for the usual.
        told: called with a line's name whenever its state has changed.
        ask_every_s: how often watched lines are asked.

    Attributes:
        states: each line's state, by name.
    """

    def __init__(
        self,
        fleet: Fleet,
        bundle: Bundle,
        bounds: Bounds,
        *,
        other_part: bool = False,
        most_at_once: int | None = None,
        limits: Limits | None = None,
        told: Callable[[str], None] = lambda _: None,
        ask_every_s: float = _ASK_EVERY_S,
    ) -> None:
        self._fleet, self._bundle, self._bounds, self._limits = fleet, bundle, bounds, limits or Limits()
        self._other_part, self._most = other_part, most_at_once
        self._told, self._ask_every_s = told, ask_every_s
        self._before: dict[str, dict[str, Any]] = {}
        self._touched: list[str] = []
        self._doubtful: set[str] = set()
        self.states = {name: LineState() for name in fleet.lines}

    def run(self, stop: threading.Event) -> str | None:
        """Rolls the bundle out; returns None if all lines have it, or else why it was brought back.

        Args:
            stop: ends the roll-out; orders that are being carried out are waited for, then all is brought back.
        """
        try:
            statuses = self._statuses(list(self._fleet.lines))
            waiting = [name for name, status in statuses.items() if status["bundle"] != self._bundle.short_id]
            for name in self._fleet.lines:
                self._move(name, "waiting" if name in waiting else "new", statuses[name]["bundle"])
            for wave in _waves(waiting, self._most):
                self._watch(self._switch(wave, stop), stop)
        except Stopped as stopped:
            self._bring_back()
            return str(stopped)
        return None

    def _switch(self, wave: Sequence[str], stop: threading.Event) -> dict[str, Trial]:
        """Switches lines, waits until all have answered, and returns what to watch."""
        _check(stop)
        # What they counted until now, and not when the roll-out began.
        self._before |= self._statuses(wave)
        _check(stop)
        self._touched += wave
        for name in wave:
            self._move(name, "switching")
        orders = self._fleet.deploys(self._bundle, self._other_part, wave)
        trials: dict[str, Trial] = {}
        wrong: list[Reply] = []

        def came(reply: Reply) -> None:
            if reply.came == "done":
                trials[reply.line] = Trial(self._before[reply.line], reply.status, self._bounds, len(self.states))
                self._move(reply.line, "watched", reply.status["bundle"])
                return
            wrong.append(reply)
            if reply.came == "unknown":
                self._doubtful.add(reply.line)
                self._move(reply.line, "unknown", why=reply.why)
            else:
                self._touched.remove(reply.line)
                self._move(reply.line, "as before", why=reply.why)

        self._fleet.give(orders, self._limits.switch_s, came)
        if wrong:
            raise Stopped(f"the line {wrong[0].line}: {wrong[0].why}")
        return trials

    def _watch(self, trials: dict[str, Trial], stop: threading.Event) -> None:
        """Waits until enough parts have passed on each of some lines, and looks at what they count."""
        until = time.monotonic() + self._bounds.wait_s
        missed = dict.fromkeys(trials, 0)
        while trials:
            _check(stop, self._ask_every_s)
            for name, reply in self._fleet.ask(trials, self._limits.answer_s).items():
                missed[name] = 0 if reply.came == "done" else missed[name] + 1
                if reply.came == "done":
                    self._look(name, trials[name], reply.status)
                elif missed[name] >= _MISSED:
                    self._fail(name, f"it does not answer any more ({reply.why})", "unknown")
            trials = {name: trial for name, trial in trials.items() if not trial.is_over}
            if trials and time.monotonic() >= until:
                name = min(trials, key=lambda one: trials[one].passed)
                self._fail(name, f"only {trials[name].passed} of {self._bounds.parts} parts have passed in "
                                 f"{self._bounds.wait_s:g} s; give it longer, or ask for fewer")  # fmt: skip

    def _look(self, name: str, trial: Trial, status: dict[str, Any]) -> None:
        why = trial.look(status)
        self.states[name].passed = trial.passed
        self._move(name, "new" if trial.is_over and why is None else "watched", status["bundle"])
        if why is not None:
            self._fail(name, why)

    def _fail(self, name: str, why: str, state: State = "watched") -> None:
        self._move(name, state, why=why)
        raise Stopped(f"the line {name}: {why}")

    def _bring_back(self) -> None:
        """Brings the bundle from before back on every line that may have got the new one."""
        for name, found in self.states.items():
            if found.state == "waiting":
                self._move(name, "as before")
        orders: dict[str, Order] = {}
        for name, reply in self._fleet.ask(self._touched, self._limits.answer_s).items():
            before = self._before[name]
            runs = reply.status.get("bundle")
            if reply.came != "done" or name in self._doubtful:
                # A switch that was given up on may still be under way. This one comes after it.
                orders[name] = Order(do="deploy", bundle=before["places"]["bundle"], other_part=self._other_part)
            elif runs == self._bundle.short_id:
                orders[name] = Order(do="rollback")
            elif runs == before["bundle"]:
                self._move(name, "brought back", runs, self.states[name].why)
            else:
                self._move(name, "left alone", runs, self.states[name].why)
        replies = self._fleet.give(orders, self._limits.switch_s, self._came_back)
        # A bundle brings its own threshold along; somebody may have set another one.
        thresholds = {
            name: Order(do="threshold", threshold=self._before[name]["threshold"])
            for name, reply in replies.items()
            if self.states[name].state == "brought back"
            and reply.status["threshold"] != self._before[name]["threshold"]
        }
        for reply in self._fleet.give(thresholds, self._limits.switch_s).values():
            if reply.came != "done":
                self._move(reply.line, "unknown", why=f"its threshold was not brought back ({reply.why})")

    def _came_back(self, reply: Reply) -> None:
        before = self._before[reply.line]["bundle"]
        if reply.came != "done":
            self._move(reply.line, "unknown", why=f"it was not brought back to {before} ({reply.why})")
        elif reply.status["bundle"] != before:
            why = f"it ran {before} before, and its folder holds another bundle by now"
            self._move(reply.line, "unknown", reply.status["bundle"], why)
        else:
            self._move(reply.line, "brought back", before, self.states[reply.line].why)

    def _statuses(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns the status of lines, all of which must answer."""
        found = self._fleet.ask(names, self._limits.answer_s)
        for name, reply in found.items():
            if reply.came != "done":
                self._fail(name, reply.why, "unknown")
            if (missing := _NEEDED - reply.status.keys()):
                self._fail(name, f"its status has no {min(missing)}; use the same Taktline there", "as before")
            if not reply.status["live"]:
                self._fail(name, "it is down", "as before")
        return {name: reply.status for name, reply in found.items()}

    def _move(self, name: str, state: State, bundle: str | None = None, why: str = "") -> None:
        found = self.states[name]
        found.state, found.why = state, why
        if bundle is not None:
            found.bundle = bundle
        self._told(name)


def _waves(names: Sequence[str], most: int | None) -> Iterator[Sequence[str]]:
    """Yields one line, then two, four and so on."""
    first, size = 0, 1
    while first < len(names):
        yield names[first : first + size]
        first += size
        size = 2 * size if most is None else min(2 * size, most)


def _check(stop: threading.Event, wait_s: float = 0.0) -> None:
    if stop.wait(wait_s):
        raise Stopped("it was interrupted")
