"""The measurement of fan-out: every message reaches every subscriber, one that hangs loses what no queue holds."""

from __future__ import annotations

import json

from bench.measure.fanout import measure_first_loss
from tests.conftest import RunTaktline


def test_it_measures_each_number_of_subscribers(taktline_in_process: RunTaktline) -> None:
    words = ("bench", "fanout", "--subscribers", "1,3", "--count", 2000, "--runs", 1, "--no-loss")
    done = taktline_in_process(*words, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [one["subscribers"] for one in results["fanout"]] == [1, 3]
    assert all(one["messages_per_s"] > 0 and one["cpu_us"] > 0 for one in results["fanout"])
    assert results["first_loss"] is None
    assert "deliveries/s" in taktline_in_process(*words).stdout
    refused = taktline_in_process("bench", "fanout", "--count", 200_000)
    assert refused.returncode == 2 and "may lose some" in " ".join(refused.stderr.split())


def test_what_a_subscriber_that_hangs_loses_is_found() -> None:
    """It has what the two queues hold, and what the network does."""
    assert 2 * 30_000 <= measure_first_loss(lambda *_: None, 30_000) < 4 * 30_000
