"""The steps by which a store's schema came to be. A step that was released is never changed; new ones follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engines.errors import ConfigError


@dataclass(frozen=True)
class Step:
    """One version of the schema, as what makes it of the version before.

    Attributes:
        postgres: statements for PostgreSQL, divided by semicolons.
        sqlite: the same for SQLite.
    """

    postgres: str
    sqlite: str


# The key of PostgreSQL's verdicts has the time as well, because that of a partitioned table must. One sequence of an
# epoch is one frame and has one time, so a verdict is still there once.
_VERDICTS = """
    verdict text NOT NULL, reason text, score {real}, threshold {real} NOT NULL, part text, regions {json} NOT NULL,
    queue_ns bigint NOT NULL, infer_ns bigint NOT NULL, decide_ns bigint NOT NULL, publish_ns bigint NOT NULL,
    latency_ns bigint NOT NULL, engine text NOT NULL, "precision" text NOT NULL, exact boolean NOT NULL,
    bundle text NOT NULL, journaled boolean NOT NULL,
    label text, labelled_by text, labelled_ns bigint, label_note text,
"""
_KEY = "line text NOT NULL, camera text NOT NULL, epoch text NOT NULL, sequence bigint NOT NULL,"
_REFUSED = f"CREATE TABLE refused ({_KEY} why text NOT NULL, body text NOT NULL, "

STEPS: tuple[Step, ...] = (
    Step(
        postgres=f"""
CREATE TABLE verdicts ({_KEY} captured_at timestamptz NOT NULL, captured_ns bigint NOT NULL,
    {_VERDICTS.format(real="float8", json="jsonb")}
    PRIMARY KEY (line, captured_at, camera, epoch, sequence)) PARTITION BY RANGE (captured_at);
CREATE INDEX verdicts_part ON verdicts (part) WHERE part IS NOT NULL;
CREATE TABLE cursors (line text PRIMARY KEY, position jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now());
{_REFUSED} at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (line, epoch, camera, sequence))
""",
        sqlite=f"""
CREATE TABLE verdicts ({_KEY}
    captured_at text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%SZ', captured_ns / 1000000000, 'unixepoch')),
    captured_ns bigint NOT NULL,
    {_VERDICTS.format(real="real", json="text")}
    PRIMARY KEY (line, camera, epoch, sequence)) WITHOUT ROWID;
CREATE INDEX verdicts_time ON verdicts (line, captured_ns);
CREATE INDEX verdicts_part ON verdicts (part) WHERE part IS NOT NULL;
CREATE TABLE cursors (line text PRIMARY KEY, position text NOT NULL, at text NOT NULL DEFAULT CURRENT_TIMESTAMP);
{_REFUSED} at text NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (line, epoch, camera, sequence))
""",
    ),
)


def missing_steps(found: int, steps: Sequence[Step], where: str) -> Sequence[tuple[int, Step]]:
    """Returns the steps that a database still needs, each with its version.

    Args:
        found: the version of its schema; 0 for an empty database.
        steps: those that this Taktline knows.
        where: what to call the database.

    Raises:
        ConfigError: a newer Taktline made its schema.
    """
    if found > len(steps):
        raise ConfigError(
            f"the store {where} has schema version {found} and this Taktline knows up to version {len(steps)}; update "
            "this Taktline"
        )
    return [(version, step) for version, step in enumerate(steps, 1) if version > found]
