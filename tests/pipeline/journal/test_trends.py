"""Trends are what each hour or shift holds."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from datetime import time as time_of_day
from pathlib import Path

import numpy as np
import pytest

from engines.errors import ConfigError
from pipeline.journal.history import History
from pipeline.journal.selection import Selection
from pipeline.journal.trends import MOST_INTERVALS, hours, shifts
from tests.pipeline.journal.drawn import BEGAN, HOUR, draw


def test_trends_are_those_of_each_interval(journal: Path) -> None:
    edges = [BEGAN + hour * HOUR for hour in range(7)]
    selection = Selection(cameras=("a", "b"))
    with History(journal) as history:
        trends = history.trends(selection, edges)
    for trend, (since, until_) in zip(trends, itertools.pairwise(edges), strict=True):
        own = [v for v in draw() if v.camera in "ab" and since <= v.captured_at < until_]
        assert (trend.since, trend.until, trend.total) == (since, until_, len(own))
        for outcome in ("ok", "ng", "uninspected"):
            assert trend.verdicts[outcome] == sum(v.verdict == outcome for v in own)
        assert sum(trend.reasons.values()) == trend.verdicts["uninspected"]
        scores = [v.score for v in own if v.score is not None]
        if scores:
            np.testing.assert_allclose(trend.scores, np.quantile(scores, (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)))
            assert trend.share("ng") == trend.verdicts["ng"] / len(own)
            assert trend.latencies == (6.0, 6.0)
        else:
            assert (trend.scores, trend.latencies, trend.share("ng")) == ((), (), None)
    assert trends[-1].total == 0 < trends[0].total


def test_hours_and_shifts_have_edges_and_too_many_are_refused(journal: Path) -> None:
    since = datetime(2025, 3, 1, 5, 30).astimezone()
    until_ = datetime(2025, 3, 1, 15, 0).astimezone()

    def local(edges: list[int]) -> list[str]:
        return [datetime.fromtimestamp(edge / 1e9).strftime("%d %H:%M") for edge in edges]

    assert local(hours(since, until_, 4)) == ["01 05:00", "01 09:00", "01 13:00", "01 17:00"]
    begins = [time_of_day(14), time_of_day(6), time_of_day(22)]
    assert local(shifts(since, until_, begins)) == ["28 22:00", "01 06:00", "01 14:00", "01 22:00"]
    with pytest.raises(ConfigError, match="at least one time"):
        shifts(since, until_, [])
    with History(journal) as history:
        for wrong in ([], [1], [2, 1], [1, 1], list(range(MOST_INTERVALS + 2)),
                      hours(datetime(1990, 1, 1, tzinfo=UTC), until_)):  # fmt: skip
            with pytest.raises(ConfigError):
                history.trends(Selection(), wrong)
