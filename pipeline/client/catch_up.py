"""What a subscriber has, what it missed, and what to ask for. No sockets, no threads, no clock."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from engines.errors import ConfigError
from pipeline.client.cursor import MOST_EARLIER, Cursor, Range
from pipeline.client.position import Bookmarks, Mark, Position, Since
from pipeline.protocol.gap import Gap, Why
from pipeline.protocol.replay import Answer, Received, ReplayRequest, Series

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_QUIET_S = 1.0
_LONGEST_S = 10.0
_MOST_HELD = 10_000


class CatchUp:
    """Puts each camera's verdicts in order, each once, and finds what is missing.

    Args:
        cameras: only these; all if empty.
        since: a position to resume from, or the last sequence of each camera; a camera that is not in it begins with
            the oldest verdict there is. None for all verdicts from now on.
        asks: whether there is a replay to ask; without one, every jump in the sequence is a gap.

    Attributes:
        ready: verdicts and gaps to hand over, in order; `hand_over` takes the next.
        missed: how many verdicts are known to be gone.

    Raises:
        ConfigError: `since` is not a position.
    """

    def __init__(self, cameras: Sequence[str], since: Since | None, asks: bool) -> None:
        self._cameras, self._asks, self._from_now = tuple(cameras), asks, since is None
        self.ready: deque[Received | Gap] = deque()
        self.missed = 0
        try:
            self._cursors = {camera: _cursor(mark) for camera, mark in (since or {}).items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"{since!r} is not a subscriber's position; give one that `position` returned") from error
        self._bookmarks = Bookmarks(since or {})
        self._silent: float | None = None
        self._asked: tuple[ReplayRequest, float] | None = None
        self._not_before = 0.0
        self._count = self._surveys = 0
        self._surveyed: float | None = None

    @property
    def position(self) -> Position:
        """How far verdicts and gaps were handed over."""
        return self._bookmarks.position

    def hand_over(self) -> Received | Gap:
        """Returns the next verdict or gap that is ready."""
        item = self.ready.popleft()
        if isinstance(item, Gap):
            self._bookmarks.advance(item.camera, item.epoch, item.last)
        else:
            self._bookmarks.advance(item[0].camera, item[0].epoch, item[0].sequence)
        return item

    def arrived(self, item: Received, now: float) -> None:
        """Takes a published verdict."""
        verdict = item[0]
        # ZeroMQ matches the beginning of a topic: 'cam1' would also match 'cam10'.
        if self._cameras and verdict.camera not in self._cameras:
            return
        cursor = self._cursors.get(verdict.camera)
        if cursor is None:
            cursor = self._cursors[verdict.camera] = Cursor("", 0, now)
            if not self._asks or (self._from_now and self._surveyed is None):
                cursor.move(verdict.epoch, verdict.sequence)
        elif cursor.epoch is None and not self._asks:
            cursor.epoch = verdict.epoch
        cursor.heard = now
        if cursor.behind or not self._take(cursor, item):
            self._hold(cursor, item)

    def request(self, now: float) -> ReplayRequest | None:
        """Returns what to ask for now, if anything."""
        if not self._asks or now < self._not_before:
            return None
        if self._asked is not None and now - self._asked[1] < _PATIENCE_S:
            return None
        self._asked = None
        self._complain(now)
        behind = next((found for found in self._cursors.items() if found[1].plan), None)
        if self._surveyed is None or any(cursor.unclear for cursor in self._cursors.values()) or self._quiet(now):
            request = self._number(do="series", cameras=self._cameras)
            self._surveys = request.id
        elif behind is not None:
            camera, cursor = behind
            wanted = cursor.plan[0]
            request = self._number(do="read", camera=camera, epoch=wanted.epoch, first=wanted.first, last=wanted.last)
            # The next request is for another camera.
            self._cursors[camera] = self._cursors.pop(camera)
        else:
            return None
        self._asked = request, now
        return request

    def unsent(self, now: float) -> None:
        """Notes that the last request could not be sent, because nobody is there."""
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
            return
        if answer.id != request.id:
            return
        self._asked = None
        if request.do == "series":
            self._survey(answer.series, request.id, now)
        else:
            self._page(self._cursors[request.camera], request, answer)

    def _complain(self, now: float) -> None:
        """Warns when verdicts wait for answers that do not come."""
        if self._silent is None or not any(cursor.behind for cursor in self._cursors.values()):
            self._silent = now
        elif now - self._silent >= _LONGEST_S:
            log.warning("verdicts wait for missed ones, but the replay does not answer; check its address")
            self._silent = now

    def _number(self, **values: object) -> ReplayRequest:
        self._count += 1
        return ReplayRequest.model_validate({"id": self._count, **values})

    def _quiet(self, now: float) -> bool:
        """Whether to ask for verdicts that may have been missed without a later one showing it."""
        assert self._surveyed is not None
        since = now - self._surveyed
        quiet = [now - cursor.heard >= _QUIET_S for cursor in self._cursors.values() if not cursor.behind]
        return since >= _LONGEST_S or (since >= _QUIET_S and (not self._cursors or any(quiet)))

    def _take(self, cursor: Cursor, item: Received) -> bool:
        """Delivers a verdict, drops a repeated one, or plans what must come before it; False if it must wait."""
        verdict = item[0]
        due = cursor.due(verdict.epoch)
        if due is not None and verdict.sequence < due:
            return True
        if verdict.epoch == cursor.epoch and verdict.sequence == cursor.next:
            self._deliver(cursor, item)
            return True
        if not self._asks:
            if verdict.epoch == cursor.epoch:
                self._miss(verdict.camera, Range(verdict.epoch, cursor.next, verdict.sequence - 1))
            self._deliver(cursor, item)
            return True
        if verdict.epoch == cursor.epoch:
            cursor.plan.append(Range(verdict.epoch, cursor.next, verdict.sequence - 1))
        else:
            cursor.unclear = True
        return False

    def _hold(self, cursor: Cursor, item: Received) -> None:
        # A verdict that finds no room is asked for later.
        if len(cursor.held) < _MOST_HELD:
            cursor.held.append((item, self._surveys))

    def _deliver(self, cursor: Cursor, item: Received) -> None:
        cursor.move(item[0].epoch, item[0].sequence + 1)
        self.ready.append(item)

    def _release(self, cursor: Cursor) -> None:
        """Delivers held verdicts once everything planned has arrived."""
        while cursor.held and not cursor.plan and not cursor.unclear:
            item, survey = cursor.held[0]
            due = cursor.due(item[0].epoch)
            begins = item[0].epoch != cursor.epoch and (due is None or item[0].sequence >= due)
            if begins and survey < cursor.settled:
                # A survey since its arrival found nothing before it.
                self._deliver(cursor, item)
            elif not self._take(cursor, item):
                return
            cursor.held.popleft()

    def _survey(self, series: Sequence[Series], number: int, now: float) -> None:
        first, self._surveyed = self._surveyed is None, now
        found: dict[str, list[Series]] = {}
        for one in series:
            found.setdefault(one.camera, []).append(one)
        for camera, held in found.items():
            begins = camera not in self._cursors
            cursor = self._cursors.setdefault(camera, Cursor("", 0, 0.0))
            if first and self._from_now:
                for one in held[-MOST_EARLIER:]:
                    # Everything published so far was not asked for, in any epoch.
                    if cursor.due(one.epoch) is None:
                        cursor.earlier[one.epoch] = one.last + 1
                        self._bookmarks.skip(camera, one.epoch, one.last)
                if begins:
                    cursor.move(held[-1].epoch, held[-1].last + 1)
                    self._bookmarks.begin(camera, held[-1].epoch, held[-1].last)
        for camera, cursor in self._cursors.items():
            held = found.get(camera, [])
            if cursor.epoch is None and held:
                cursor.epoch = held[-1].epoch
            if not cursor.plan and (cursor.unclear or (not cursor.held and now - cursor.heard >= _QUIET_S)):
                _plan(cursor, held)
                cursor.unclear, cursor.settled = False, number
                self._release(cursor)

    def _page(self, cursor: Cursor, request: ReplayRequest, answer: Answer) -> None:
        wanted = cursor.plan[0]
        before = wanted.first
        between: Why = "damaged" if answer.unreadable else "gone"
        for item in answer.items:
            if isinstance(item, Gap):
                camera, epoch, first, last = item.camera, item.epoch, item.first, item.last
            else:
                camera, epoch, first, last = item[0].camera, item[0].epoch, item[0].sequence, item[0].sequence
            if (camera, epoch) != (request.camera, request.epoch) or not wanted.first <= first <= wanted.last:
                continue
            self._miss(camera, Range(epoch, wanted.first, first - 1), between)
            if isinstance(item, Gap):
                last = min(last, wanted.last)
                self._miss(camera, Range(epoch, first, last), item.why)
            else:
                self._deliver(cursor, item)
            wanted.first = last + 1
        if answer.more and wanted.first == before:
            # Asking for the same page again would never end. Each item stands for at least one sequence.
            last = min(before + max(answer.unreadable, 1) - 1, wanted.last)
            self._miss(request.camera, Range(wanted.epoch, before, last), between)
            wanted.first = last + 1
        elif not answer.more:
            self._miss(request.camera, wanted, between)
            wanted.first = max(wanted.first, wanted.last + 1)
        if wanted.first > wanted.last:
            cursor.move(wanted.epoch, wanted.first)
            cursor.plan.popleft()
            self._release(cursor)

    def _miss(self, camera: str, missing: Range, why: Why = "gone") -> None:
        if missing.last >= missing.first:
            gap = Gap(camera, missing.epoch, missing.first, missing.last, why)
            self.missed += gap.count
            self.ready.append(gap)
            log.warning("camera %s: verdicts %d to %d are lost (%s)", camera, gap.first, gap.last, why)


def _cursor(mark: int | Mark) -> Cursor:
    if isinstance(mark, int):
        return Cursor(None, mark + 1, 0.0)
    earlier = {epoch: last + 1 for epoch, last in mark.get("earlier", {}).items()}
    return Cursor(mark["epoch"], mark["sequence"] + 1, 0.0, earlier)


def _plan(cursor: Cursor, held: Sequence[Series]) -> None:
    """Plans to read what a journal holds from the due sequence on; the pages show which of it is gone."""
    known = [index for index, one in enumerate(held) if cursor.due(one.epoch) is not None]
    # Anything before a known epoch is older than the position.
    for one in held[known[-1] if known else 0 :]:
        due = cursor.due(one.epoch)
        first = one.first if due is None else due
        if first <= one.last:
            cursor.plan.append(Range(one.epoch, first, one.last))
