"""A fault on every frame is not a warning for every frame."""

from __future__ import annotations

import logging

import pytest

from pipeline.flow.rate_limited_log import RateLimitedLog

SECOND = 1_000_000_000


def test_a_flood_is_counted_and_the_count_is_told(caplog: pytest.LogCaptureFixture) -> None:
    warnings = RateLimitedLog(logging.getLogger("flood"), first=2, every_s=10)
    for number in range(100):
        warnings.warning("frame %d is broken", number, now=number * SECOND // 10)
    assert caplog.messages == ["frame 0 is broken", "frame 1 is broken"]
    warnings.warning("frame %d is broken", 100, now=11 * SECOND)
    assert caplog.messages[2:] == ["98 more warnings of this kind were not logged", "frame 100 is broken"]
    warnings.flush()
    assert len(caplog.messages) == 4


def test_rare_warnings_are_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    warnings = RateLimitedLog(logging.getLogger("rare"), first=1, every_s=10)
    for number in range(5):
        warnings.warning("frame %d", number, now=number * 10 * SECOND)
    warnings.flush()
    assert caplog.messages == [f"frame {number}" for number in range(5)]
