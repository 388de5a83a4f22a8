"""What a subscriber has, what it missed, and what to ask for: no sockets, no threads, no clock."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from engines.errors import ConfigError
from pipeline.client.cursor import MOST_EARLIER, Range, Way
from pipeline.protocol.replay import Answer, Received, ReplayRequest, Series

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_QUIET_S = 1.0
_LONGEST_S = 10.0
_MOST_HELD = 10_000


class Mark(TypedDict):
    """Up to where a camera's verdicts were dealt with.

    Attributes:
        epoch: see `Verdict.epoch`.
        sequence: the last one; -1 for none.
        earlier: the last sequence of epochs before it.
    """

    epoch: str
    sequence: int
    earlier: NotRequired[dict[str, int]]


Position = dict[str, int | Mark]
Since = Mapping[str, int | Mark]


class CatchUp:
    """Puts each camera's verdicts in their order, each once, and finds what is missing.

    Args:
        cameras: only these; all when empty.
        since: a position to go on from, or the last sequence of each camera; a camera that is not in it begins with
            the oldest verdict there is. None for all that come from now on.
        asks: whether there is a replay to ask; without one it goes on over gaps and counts them.

    Attributes:
        ready: verdicts to hand over, in their order; `hand_over` takes the next.
        missed: how many verdicts are known to be gone.
    """

    def __init__(self, cameras: Sequence[str], since: Since | None, asks: bool) -> None:
        self._cameras, self._asks, self._from_now = tuple(cameras), asks, since is None
        self.ready: deque[Received] = deque()
        self.missed = 0
        self._ways: dict[str, Way] = {}
        self._position: Position = {}
        # What is left out of the past, until it is part of the position.
        self._before: dict[str, dict[str, int]] = {}
        try:
            for camera, mark in (since or {}).items():
                self._begin(camera, mark)
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"{since!r} is no subscriber's position; give one as `position` returned it") from error
        self._silent: float | None = None
        self._asked: tuple[ReplayRequest, float] | None = None
        self._not_before = 0.0
        self._count = self._surveys = 0
        self._surveyed: float | None = None

    def _begin(self, camera: str, mark: int | Mark) -> None:
        self._position[camera] = mark
        if isinstance(mark, int):
            self._ways[camera] = Way(None, mark + 1, 0.0)
            return
        earlier = {epoch: last + 1 for epoch, last in mark.get("earlier", {}).items()}
        self._ways[camera] = Way(mark["epoch"], mark["sequence"] + 1, 0.0, earlier)

    @property
    def position(self) -> Position:
        """Up to where verdicts were handed over."""
        return dict(self._position)

    def hand_over(self) -> Received:
        """Returns the next verdict that is ready."""
        item = self.ready.popleft()
        verdict = item[0]
        mark = self._position.get(verdict.camera)
        earlier = self._before.pop(verdict.camera, {})
        if mark is not None and not isinstance(mark, int):
            earlier |= mark.get("earlier", {})
            earlier[mark["epoch"]] = mark["sequence"]
        earlier.pop(verdict.epoch, None)
        earlier = dict(list(earlier.items())[-MOST_EARLIER:])
        new = Mark(epoch=verdict.epoch, sequence=verdict.sequence)
        if earlier:
            new["earlier"] = earlier
        self._position[verdict.camera] = new
        return item

    def came(self, item: Received, now: float) -> None:
        """Takes a verdict that was published."""
        verdict = item[0]
        # ZeroMQ matches topics by their beginning: 'cam1' would also bring 'cam10'.
        if self._cameras and verdict.camera not in self._cameras:
            return
        way = self._ways.get(verdict.camera)
        if way is None:
            way = self._ways[verdict.camera] = Way("", 0, now)
            if not self._asks or (self._from_now and self._surveyed is None):
                way.move(verdict.epoch, verdict.sequence)
        elif way.epoch is None and not self._asks:
            way.epoch = verdict.epoch
        way.heard = now
        if way.behind or not self._take(way, item):
            self._hold(way, item)

    def request(self, now: float) -> ReplayRequest | None:
        """Returns what to ask for now, if anything."""
        if not self._asks or now < self._not_before:
            return None
        if self._asked is not None and now - self._asked[1] < _PATIENCE_S:
            return None
        self._asked = None
        self._complain(now)
        behind = next((way for way in self._ways.items() if way[1].plan), None)
        if self._surveyed is None or any(way.unclear for way in self._ways.values()) or self._quiet(now):
            request = self._number(do="series", cameras=self._cameras)
            self._surveys = request.id
        elif behind is not None:
            camera, way = behind
            wanted = way.plan[0]
            request = self._number(do="read", camera=camera, epoch=wanted.epoch, first=wanted.first, last=wanted.last)
            # The next question is about another camera.
            self._ways[camera] = self._ways.pop(camera)
        else:
            return None
        self._asked = request, now
        return request

    def _complain(self, now: float) -> None:
        """Says so where verdicts wait for answers that do not come."""
        if self._silent is None or not any(way.behind for way in self._ways.values()):
            self._silent = now
        elif now - self._silent >= _LONGEST_S:
            log.warning("verdicts wait for missed ones, and the replay does not answer; is its address right?")
            self._silent = now

    def unsent(self, now: float) -> None:
        """Says that the last request could not be sent: nobody is there."""
        self._asked = None
        self._not_before = now + _PATIENCE_S / 5

    def answered(self, answer: Answer, now: float) -> None:
        """Takes an answer."""
        if self._asked is None:
            return
        self._silent = None
        request = self._asked[0]
        if answer.retry_s is not None and answer.id in (0, request.id):
            self._asked, self._not_before = None, now + answer.retry_s
        elif answer.id == request.id:
            self._asked = None
            if request.do == "series":
                self._survey(answer.series, request.id, now)
            else:
                self._page(self._ways[request.camera], request, answer)

    def _number(self, **values: object) -> ReplayRequest:
        self._count += 1
        return ReplayRequest.model_validate({"id": self._count, **values})

    def _quiet(self, now: float) -> bool:
        """Whether to ask if anything was missed that no later verdict shows."""
        assert self._surveyed is not None
        since = now - self._surveyed
        quiet = [now - way.heard >= _QUIET_S for way in self._ways.values() if not way.behind]
        return since >= _LONGEST_S or (since >= _QUIET_S and (not self._ways or any(quiet)))

    def _take(self, way: Way, item: Received) -> bool:
        """Hands a verdict over, or drops one that was, or plans what must come before it; False where it must wait."""
        verdict = item[0]
        due = way.due(verdict.epoch)
        if due is not None and verdict.sequence < due:
            return True
        if verdict.epoch == way.epoch and verdict.sequence == way.next:
            self._deliver(way, item)
            return True
        if not self._asks:
            if verdict.epoch == way.epoch:
                self._miss(verdict.camera, way.next, verdict.sequence - 1)
            self._deliver(way, item)
            return True
        if verdict.epoch == way.epoch:
            way.plan.append(Range(verdict.epoch, way.next, verdict.sequence - 1))
        else:
            way.unclear = True
        return False

    def _hold(self, way: Way, item: Received) -> None:
        # One that finds no place is found missing later.
        if len(way.held) < _MOST_HELD:
            way.held.append((item, self._surveys))

    def _deliver(self, way: Way, item: Received) -> None:
        way.move(item[0].epoch, item[0].sequence + 1)
        self.ready.append(item)

    def _release(self, way: Way) -> None:
        """Goes on with what was held, once all that was planned is there."""
        while way.held and not way.plan and not way.unclear:
            item, survey = way.held[0]
            due = way.due(item[0].epoch)
            begins = item[0].epoch != way.epoch and (due is None or item[0].sequence >= due)
            if begins and survey < way.settled:
                # Asked since it came: nothing is known to lie before it.
                self._deliver(way, item)
            elif not self._take(way, item):
                return
            way.held.popleft()

    def _survey(self, series: Sequence[Series], number: int, now: float) -> None:
        first, self._surveyed = self._surveyed is None, now
        found: dict[str, list[Series]] = {}
        for one in series:
            found.setdefault(one.camera, []).append(one)
        for camera, held in found.items():
            begins = camera not in self._ways
            way = self._ways.setdefault(camera, Way("", 0, 0.0))
            if first and self._from_now:
                for one in held[-MOST_EARLIER:]:
                    # What there is by now was not asked for, in whatever epoch.
                    if way.due(one.epoch) is None:
                        way.earlier[one.epoch] = one.last + 1
                        self._before.setdefault(camera, {})[one.epoch] = one.last
                if begins:
                    way.move(held[-1].epoch, held[-1].last + 1)
                    self._position[camera] = Mark(epoch=held[-1].epoch, sequence=held[-1].last)
        for camera, way in self._ways.items():
            held = found.get(camera, [])
            if way.epoch is None and held:
                way.epoch = held[-1].epoch
            if not way.plan and (way.unclear or (not way.held and now - way.heard >= _QUIET_S)):
                self._plan(camera, way, held)
                way.unclear, way.settled = False, number
                self._release(way)

    def _plan(self, camera: str, way: Way, held: Sequence[Series]) -> None:
        known = [index for index, one in enumerate(held) if way.due(one.epoch) is not None]
        # What lies before an epoch that is known is older than the position.
        for one in held[known[-1] if known else 0 :]:
            due = way.due(one.epoch)
            if due is not None and due < one.first:
                self._miss(camera, due, one.first - 1)
            first = max(one.first, due or 0)
            if first <= one.last:
                way.plan.append(Range(one.epoch, first, one.last))

    def _page(self, way: Way, request: ReplayRequest, answer: Answer) -> None:
        wanted = way.plan[0]
        for item in answer.items:
            verdict = item[0]
            if (verdict.camera, verdict.epoch) != (request.camera, request.epoch) or verdict.sequence < wanted.first:
                continue
            self._miss(request.camera, wanted.first, verdict.sequence - 1)
            self._deliver(way, item)
            wanted.first = verdict.sequence + 1
        if answer.more and answer.items:
            return
        self._miss(request.camera, wanted.first, wanted.last)
        way.move(wanted.epoch, max(wanted.first, wanted.last + 1))
        way.plan.popleft()
        self._release(way)

    def _miss(self, camera: str, first: int, last: int) -> None:
        if last >= first:
            self.missed += last - first + 1
            log.warning("camera %s: the verdicts %d to %d cannot be had any more", camera, first, last)
