"""An imagined line, which loses, restarts and answers as a test wants."""

from __future__ import annotations

import dataclasses

from pipeline.client.catch_up import CatchUp
from pipeline.protocol.gap import Gap
from pipeline.protocol.replay import Answer, Received, ReplayRequest, Series
from pipeline.protocol.verdict import Verdict
from tests.pipeline.parts import decide

PAGE = 7


class Book:
    """What a line published and holds: epochs in their order, each with its sequences."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.damaged: set[tuple[str, str, int]] = set()
        self.epoch, self.sequence = "e0", {"a": 0, "b": 0}

    def publish(self, camera: str) -> Verdict:
        verdict = dataclasses.replace(decide(camera, self.sequence[camera]).verdict, epoch=self.epoch, journaled=True)
        self.sequence[camera] += 1
        self.verdicts.append(verdict)
        return verdict

    def answer(self, request: ReplayRequest) -> Answer:
        if request.do == "series":
            found: dict[tuple[str, str], list[int]] = {}
            for verdict in self.verdicts:
                if not request.cameras or verdict.camera in request.cameras:
                    found.setdefault((verdict.camera, verdict.epoch), []).append(verdict.sequence)
            series = [Series(camera, epoch, min(held), max(held)) for (camera, epoch), held in found.items()]
            return Answer(request.id, tuple(series))
        wanted = [
            verdict
            for verdict in self.verdicts
            if (verdict.camera, verdict.epoch) == (request.camera, request.epoch)
            and request.first <= verdict.sequence <= request.last
        ]
        return Answer(request.id, items=tuple(map(self._item, wanted[:PAGE])), more=len(wanted) > PAGE)

    def _item(self, verdict: Verdict) -> Received | Gap:
        name = verdict.camera, verdict.epoch, verdict.sequence
        return Gap(*name, verdict.sequence, "damaged") if name in self.damaged else (verdict, None)


def take_all(state: CatchUp) -> list[Verdict | Gap]:
    items = [state.hand_over() for _ in range(len(state.ready))]
    return [item if isinstance(item, Gap) else item[0] for item in items]


def take(state: CatchUp) -> list[Verdict]:
    return [item for item in take_all(state) if isinstance(item, Verdict)]


def settle(state: CatchUp, book: Book, now: float) -> float:
    """Answers until nothing is asked any more."""
    for _ in range(200):
        now += 0.3
        request = state.request(now)
        if request is not None:
            state.answered(book.answer(request), now)
    return now
