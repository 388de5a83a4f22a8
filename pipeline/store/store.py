"""A store: verdicts of many lines, each once, and with them how far each line's subscriber has got."""

from __future__ import annotations

import json
import logging
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from engines.closing import Closing
from engines.errors import TaktlineError
from pipeline.protocol.verdict import Verdict
from pipeline.store.rows import Batch, Written, day_of

log = logging.getLogger(__name__)

_TEND_EVERY_S = 3600.0
_MOST_WHY = 300


class StoreDown(TaktlineError):
    """The store takes nothing now; the same may be tried again, and nothing of it is stored twice."""


class Store(Closing):
    """Where verdicts of many lines are kept. For one thread.

    It connects when it is first used, and anew after a failure. Two programs may write the same verdicts at once: each
    is stored once, by line, epoch, camera and sequence.

    Args:
        where: what to call it; without a password.
        keep_days: verdicts captured earlier than so many days ago are removed, and not stored any more; None to keep
            all.
        refusals: what the database raises for a row that it will never take.
        failure: the base of all that it raises.
    """

    def __init__(
        self,
        where: str,
        keep_days: int | None,
        refusals: tuple[type[Exception], ...],
        failure: type[Exception],
    ) -> None:
        self.where, self._keep_days, self._refusals, self._failure = where, keep_days, refusals, failure
        self._open: Any = None
        self._tended: float | None = None

    @abstractmethod
    def positions(self) -> dict[str, Any]:
        """Returns how far the subscriber of each line got.

        Raises:
            StoreDown: it does not answer now.
            ConfigError: it cannot be used: it refuses this user, or a newer Taktline made it.
        """

    def write(self, batches: Sequence[Batch]) -> Written:
        """Stores verdicts and positions in one transaction.

        A verdict that its schema refuses is kept in the table `refused` with the reason, and does not hold up others.

        Raises:
            StoreDown: nothing was stored.
            ConfigError: a newer Taktline has changed its schema.
        """
        oldest = self._oldest_day()
        verdicts = [verdict for batch in batches for verdict in batch.verdicts]
        kept = verdicts if oldest is None else [one for one in verdicts if day_of(one.captured_at) >= oldest]
        homeless = self._prepare({day_of(verdict.captured_at) for verdict in kept})
        with self._transaction():
            written = Written(expired=len(verdicts) - len(kept))
            for verdict in kept if homeless else ():
                if (why := homeless.get(day_of(verdict.captured_at))) is not None:
                    self._refuse(verdict, why)
                    written += Written(refused=1)
            housed = [one for one in kept if day_of(one.captured_at) not in homeless] if homeless else kept
            if housed:
                written += self._enter_or_refuse(housed)
            self._advance({batch.line: json.dumps(batch.position) for batch in batches})
        return written

    def tend(self) -> None:
        """Removes what is too old, and makes room ahead; once an hour, however often it is called.

        Raises:
            StoreDown: that is not possible now.
        """
        now = time.monotonic()
        if self._tended is None or now - self._tended >= _TEND_EVERY_S:
            self._tend(day_of(time.time_ns()), self._oldest_day())
            self._tended = now

    def close(self) -> None:
        """Closes the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Lends the connection; after any failure that left the block, the next use makes another."""
        try:
            if self._open is None:
                self._connect()
            yield self._open
        except TaktlineError:
            self.close()
            raise
        except self._failure as error:
            self.close()
            raise self._explain(error) or StoreDown(
                f"the store {self.where} takes nothing now ({first_line(error)})"
            ) from error

    @abstractmethod
    def _connect(self) -> None:
        """Opens the connection and makes sure that it has the schema."""

    @abstractmethod
    def _explain(self, error: Exception) -> TaktlineError | None:
        """Returns what a failure means that no patience will help; None for all others."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """Begins a transaction and ends it; raises `StoreDown` where that fails."""

    @abstractmethod
    def _enter(self, verdicts: Sequence[Verdict]) -> int:
        """Enters verdicts, all or none, and returns how many are new. Raises one of the refusals if one cannot be."""

    @abstractmethod
    def _keep_refused(self, verdict: Verdict, why: str, body: str) -> None:
        """Enters a verdict that was refused, as text. Raises one of the refusals if even that cannot be."""

    @abstractmethod
    def _advance(self, positions: dict[str, str]) -> None:
        """Enters positions, as JSON."""

    @abstractmethod
    def _tend(self, today: int, oldest: int | None) -> None:
        """Removes days before the oldest one to keep, and makes room for those to come."""

    def _prepare(self, days: set[int]) -> dict[int, str]:
        """Makes room for verdicts of some days; returns the days for which there is none, and why."""
        del days
        return {}

    def _oldest_day(self) -> int | None:
        return None if self._keep_days is None else day_of(time.time_ns()) - self._keep_days

    def _enter_or_refuse(self, verdicts: Sequence[Verdict]) -> Written:
        """Enters verdicts; where one is refused, halves of halves, until only that one is left out."""
        try:
            stored = self._enter(verdicts)
            return Written(stored=stored, known=len(verdicts) - stored)
        except self._refusals as error:
            if len(verdicts) == 1:
                self._refuse(verdicts[0], first_line(error))
                return Written(refused=1)
        middle = len(verdicts) // 2
        return self._enter_or_refuse(verdicts[:middle]) + self._enter_or_refuse(verdicts[middle:])

    def _refuse(self, verdict: Verdict, why: str) -> None:
        name = f"line {verdict.line}, camera {verdict.camera}, sequence {verdict.sequence}"
        log.error("the store %s refuses the verdict of %s: %s", self.where, name, why)
        try:
            self._keep_refused(verdict, why, json.dumps(verdict.to_json()))
        except self._refusals as error:
            log.error("the store %s does not even keep it as refused: %s", self.where, first_line(error))


def first_line(error: Exception) -> str:
    """Returns the first line of what a database said."""
    text = str(error).strip()
    return text.splitlines()[0][:_MOST_WHY] if text else type(error).__name__
