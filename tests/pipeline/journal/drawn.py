"""A journal that is drawn, and what each filter must find in it."""

from __future__ import annotations

import dataclasses
import random
from contextlib import closing
from pathlib import Path

from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.search import Key
from pipeline.journal.selection import Selection
from pipeline.protocol.entry import Entry, Facts
from pipeline.protocol.verdict import Outcome, Reason, Verdict, pack
from tests.pipeline.parts import decide

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}
HOUR = 3_600 * 10**9
BEGAN = 1_740_787_200 * 10**9
COUNT = 600


def draw(count: int = COUNT) -> list[Verdict]:
    """Verdicts of three cameras over five hours; some at the very same moment."""
    dice, found = random.Random(3), []
    for number in range(count):
        outcome: Outcome = dice.choices(("ok", "ng", "uninspected"), (8, 2, 1))[0]
        verdict = decide(dice.choice("abc"), number, outcome, BEGAN + number // 2 * HOUR // 60).verdict
        late: Reason | None = dice.choice(("late", "dropped")) if outcome == "uninspected" else None
        score = None if late else round(dice.uniform(0, 10), 3)
        part = dice.choice((None, f"lot-{dice.randrange(9)}/{number:04d}", "übel/%_*"))
        found.append(dataclasses.replace(verdict, epoch="ab1", reason=late, score=score, part=part, journaled=True))
    return found


def write(path: Path, verdicts: list[Verdict]) -> None:
    with closing(open_writer(path, "process")) as connection:
        write_entries(connection, [entry(verdict) for verdict in verdicts], BEGAN)


def entry(verdict: Verdict, *, facts: bool = True) -> Entry:
    body = pack(verdict, None)[1]
    known = Facts(verdict.reason, verdict.score, verdict.part, verdict.latency.total)
    return Entry(verdict.epoch, verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict, body, None,
                 known if facts else None)  # fmt: skip


def labels() -> dict[int, str]:
    found = {verdict.sequence: ("false alarm", "missed defect", "confirmed")[verdict.sequence % 3]
             for verdict in draw()[::7]}  # fmt: skip
    for verdict in draw()[::21]:
        del found[verdict.sequence]
    return found


def admits(selection: Selection, verdict: Verdict, label: str | None) -> bool:
    """What a selection means, in plain words."""
    part = selection.part
    return all(
        (
            not selection.cameras or verdict.camera in selection.cameras,
            selection.since is None or verdict.captured_at >= selection.since,
            selection.until is None or verdict.captured_at < selection.until,
            not selection.verdicts or verdict.verdict in selection.verdicts,
            not selection.reasons or verdict.reason in selection.reasons,
            part is None or verdict.part == part
            or (part.endswith("*") and verdict.part is not None and verdict.part.startswith(part[:-1])),
            selection.lowest is None or (verdict.score is not None and verdict.score >= selection.lowest),
            selection.highest is None or (verdict.score is not None and verdict.score <= selection.highest),
            not selection.labels or label in selection.labels,
            not selection.unlabelled or label is None,
        )
    )  # fmt: skip


def expected(selection: Selection) -> list[int]:
    """The sequences of the selected verdicts, newest first."""
    known = labels()
    chosen = [verdict for verdict in draw() if admits(selection, verdict, known.get(verdict.sequence))]
    return [verdict.sequence for verdict in sorted(chosen, key=Key.of, reverse=True)]


SELECTIONS = [
    Selection(),
    Selection(cameras=("b",)),
    Selection(cameras=("a", "c"), verdicts=("ng",)),
    Selection(since=BEGAN + HOUR, until=BEGAN + 2 * HOUR),
    Selection(verdicts=("uninspected",), reasons=("late",)),
    Selection(reasons=("corrupt",)),
    Selection(part="lot-3/*"),
    Selection(part="*"),
    Selection(part="übel/%_*"),
    Selection(part="lot-3/0000"),
    Selection(lowest=9.5),
    Selection(lowest=2.0, highest=2.5, cameras=("a",)),
    Selection(labels=("false alarm",)),
    Selection(labels=("confirmed", "missed defect"), cameras=("b",), since=BEGAN + HOUR),
    Selection(unlabelled=True, verdicts=("ng",)),
    Selection(("a", "b"), BEGAN, BEGAN + 5 * HOUR, ("ok", "ng"), (), "lot*", 1.0, 9.0, ("confirmed",)),
]
