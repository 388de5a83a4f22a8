"""A subscriber in a process of its own: stores every verdict with its position, in one transaction.

Called with the two addresses of a line, a SQLite file, and the seconds for which it sleeps after each hundredth.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time

from pipeline.client.subscriber import VerdictSubscriber


def main(verdicts: str, replay: str, store: str, pause_s: str) -> None:
    connection = sqlite3.connect(store)
    connection.executescript(
        "CREATE TABLE IF NOT EXISTS verdicts (epoch, camera, sequence, body, PRIMARY KEY (epoch, camera, sequence));"
        "CREATE TABLE IF NOT EXISTS position (only INTEGER PRIMARY KEY, value)"
    )
    stored = connection.execute("SELECT value FROM position").fetchone()
    since = {} if stored is None else json.loads(stored[0])
    with VerdictSubscriber(verdicts, replay=replay, since=since, queue=10) as subscriber:
        for count, verdict in enumerate(subscriber):
            with connection:
                connection.execute(
                    "INSERT INTO verdicts VALUES (?, ?, ?, ?)",
                    (verdict.epoch, verdict.camera, verdict.sequence, json.dumps(verdict.to_json())),
                )
                connection.execute("INSERT OR REPLACE INTO position VALUES (1, ?)", (json.dumps(subscriber.position),))
            if count % 100 == 99:
                time.sleep(float(pause_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
