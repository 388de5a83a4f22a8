"""Measures how long people wait for a journal's history."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.measure.scratch import scratch_folder
from engines.errors import ConfigError, TaktlineError
from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.history import History
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.selection import Selection
from pipeline.protocol.entry import Entry, Facts
from pipeline.protocol.verdict import Heatmap, Latency, Outcome, Region, Verdict, pack

_CAMERAS = ("top", "side", "left", "right")
_RARE_CAMERA = "spare"
_EPOCH = "5f0c"
_BEGAN = 1_740_787_200 * 10**9
_EVERY_NS = 100_000_000
_BATCH = 500
_NG_EVERY, _RARE_EVERY, _LABELS = 50, 100_000, 500
_MOST_VERDICTS = 20_000_000
# A verdict takes half a kilobyte, and as much again in the log.
_BYTES = 1_200


@dataclass(frozen=True)
class Waited:
    """How long one question to the history takes; medians over the runs, each on a connection of its own.

    Attributes:
        question: the question.
        found: how many verdicts its first page has, or how many were counted.
        first_ms: the first page.
        count_ms: counting up to the limit.
        later_ms: a page far behind the first; None if there are not so many.
    """

    question: str
    found: int
    first_ms: float
    count_ms: float
    later_ms: float | None


def measure_history(
    folder: Path | None, count: int, runs: int, progress: Callable[[int], None]
) -> tuple[list[Waited], float]:
    """Fills a journal and asks for its history in every way, also for what is rare and long ago.

    Returns what that takes, and how many bytes a verdict has on the disk.

    Args:
        folder: where to put the journal; None for a temporary folder.
        count: number of verdicts.
        runs: number of runs for the medians.
        progress: called with how many verdicts are in.

    Raises:
        ConfigError: these are more verdicts than it can make.
        TaktlineError: the folder cannot be written or has too little room.
    """
    if count > _MOST_VERDICTS:
        raise ConfigError(f"it makes at most {_MOST_VERDICTS} verdicts; give a lower number")
    with scratch_folder(folder) as place:
        size = _BYTES * count
        if shutil.disk_usage(place).free < size:
            raise TaktlineError(f"{count} verdicts need {size / 1e9:.1f} GB of disk; give another --folder")
        journal = place / "bench.journal"
        _fill(journal, count, progress)
        waited = [_ask(journal, name, selection, runs) for name, selection in _questions(count).items()]
        return waited, journal.stat().st_size / count


def _questions(count: int) -> dict[str, Selection]:
    end = _BEGAN + count * _EVERY_NS
    tenth = count // 10 * _EVERY_NS
    return {
        "all": Selection(),
        "a tenth, long ago": Selection(since=_BEGAN, until=_BEGAN + tenth),
        "the last tenth": Selection(since=end - tenth),
        "one camera": Selection(cameras=("side",)),
        "a rare camera": Selection(cameras=(_RARE_CAMERA,)),
        "ng": Selection(verdicts=("ng",)),
        "late (rare)": Selection(verdicts=("uninspected",), reasons=("late",)),
        "corrupt (none)": Selection(reasons=("corrupt",)),
        "a part, long ago": Selection(part="lot-17/000000007"),
        "parts that begin alike": Selection(part="lot-17/0000000*"),
        "a high score (rare)": Selection(lowest=40.0),
        "a score in the middle": Selection(lowest=1.0, highest=1.5),
        "labelled": Selection(labels=("false alarm",)),
        "ng without a label": Selection(verdicts=("ng",), unlabelled=True),
        "all filters (none)": Selection(
            ("top",), _BEGAN, end, ("ng",), (), "lot-17/9*", 3.0, 99.0, ("confirmed",)
        ),
    }  # fmt: skip


def _ask(journal: Path, question: str, selection: Selection, runs: int) -> Waited:
    figures = []
    for _ in range(runs):
        with History(journal) as history:
            started = time.perf_counter()
            page = history.page(selection)
            first = time.perf_counter()
            history.count(selection)
            counted = time.perf_counter()
            later = None
            if page.after is not None:
                # The key of a page far back, as if someone had turned so many pages.
                behind = page.after._replace(captured_at=(page.after.captured_at + _BEGAN) // 2)
                moment = time.perf_counter()
                history.page(selection, behind)
                later = (time.perf_counter() - moment) * 1e3
            figures.append(((first - started) * 1e3, (counted - first) * 1e3, later))
    laters = [later for *_, later in figures if later is not None]
    return Waited(
        question,
        len(page.found),
        float(np.median([figure[0] for figure in figures])),
        float(np.median([figure[1] for figure in figures])),
        float(np.median(laters)) if laters else None,
    )


def _fill(journal: Path, count: int, progress: Callable[[int], None]) -> None:
    random = np.random.default_rng(0)
    labelled: list[VerdictKey] = []
    with closing(open_writer(journal, "process")) as connection:
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            entries = [_entry(number, float(score)) for number, score in
                       zip(numbers, random.exponential(1.0, len(numbers)), strict=True)]  # fmt: skip
            write_entries(connection, entries, _BEGAN)
            labelled += [VerdictKey(entry.camera, _EPOCH, entry.sequence) for entry in entries
                         if entry.verdict == "ng" and len(labelled) < _LABELS]  # fmt: skip
            if first % (100 * _BATCH) == 0:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            progress(numbers[-1] + 1)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with LabelBook(journal) as book:
        for key in labelled[:_LABELS]:
            book.set(key, "false alarm", "bench")


def _entry(number: int, score: float) -> Entry:
    rare, bad = number % _RARE_EVERY == _RARE_EVERY // 2, number % _NG_EVERY == 0
    camera = _RARE_CAMERA if rare else _CAMERAS[number % len(_CAMERAS)]
    outcome: Outcome = "uninspected" if rare else "ng" if bad else "ok"
    value = None if rare else (50.0 if number % (_RARE_EVERY * 10) == 0 else score + 5) if bad else score
    verdict = Verdict(
        line="bench", camera=camera, sequence=number, verdict=outcome, reason="late" if rare else None, score=value,
        threshold=5.0, regions=(Region(120, 80, 60, 40, 9.5),) if bad else (), part=f"lot-17/{number:09d}",
        captured_at=_BEGAN + number * _EVERY_NS, latency=Latency(9_000_000, 21_000_000, 300_000, 90_000),
        engine="openvino", precision="bf16", exact=True, bundle="0123456789ab", epoch=_EPOCH, journaled=True,
    )  # fmt: skip
    heatmap = Heatmap(np.full((28, 28), number % 256, np.uint8), 0.0, 12.0) if bad else None
    _, body, *rest = pack(verdict, heatmap)
    facts = Facts(verdict.reason, value, verdict.part, verdict.latency.total)
    return Entry(_EPOCH, camera, number, verdict.captured_at, outcome, body, rest[0] if rest else None, facts)
