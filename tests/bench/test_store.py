"""The measurement of the store."""

from __future__ import annotations

import json

from tests.conftest import RunTaktline
from tests.peers.postgres import Postgres


def test_it_measures_both_kinds_and_leaves_no_database_behind(taktline_in_process: RunTaktline) -> None:
    with Postgres(fsync="off") as server:
        server.start()
        done = taktline_in_process("bench", "store", "--url", server.url, "--verdicts", 3000, "--runs", 1, "--json")
        assert done.returncode == 0, done.stderr
        assert server.ask("SELECT datname FROM pg_database WHERE datname LIKE 'taktline%'") == []
    stores = json.loads(done.stdout)["stores"]
    assert [one["store"].partition(":")[0] for one in stores] == ["postgresql", "sqlite"]
    for one in stores:
        assert one["verdicts_per_s"] > 0 and one["per_core"] > 0
        # On the wire it is 300.
        assert 150 < one["bytes_each"] < 1500
    assert stores[1]["server_share"] == 0 < stores[0]["server_share"] < 1
    refused = taktline_in_process("bench", "store", "--url", server.url, "--verdicts", 10, "--runs", 1)
    assert refused.returncode == 2
    assert "no database can be made there" in " ".join(refused.stderr.split())
