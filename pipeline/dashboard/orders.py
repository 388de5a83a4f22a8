"""Orders to a line, from a page: the role is checked when the order is given, and the audit says what came of it."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from engines.bundle import MANIFEST
from engines.errors import TaktlineError
from pipeline.client.orders import tell_line
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.sessions import Forbidden, Session, Sessions
from pipeline.dashboard.users import Role
from pipeline.journal.audit import AuditTrail, OrderRecord
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.protocol.label import Label, Said
from pipeline.protocol.orders import Order

log = logging.getLogger(__name__)

NEEDS = {"pause": Role.operator, "resume": Role.operator, "threshold": Role.engineer, "deploy": Role.engineer}
_LABELS_NEED = Role.operator
_MOST_BUNDLES = 200
_DONE = "done"


class Orders:
    """Gives orders on behalf of a session. Its methods block; call them from a thread.

    Args:
        sessions: tells what a session may do at this moment.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def give(self, session: Session, feed: LineFeed, order: Order) -> None:
        """Gives an order and waits until it is carried out.

        Raises:
            Forbidden: the session's role does not suffice; that is in the audit too.
            TaktlineError: the line refused or does not answer, or the audit cannot be written.
        """
        arguments = order.model_dump(exclude_defaults=True, exclude={"do"})
        role = self._sessions.role(session)
        name = "none" if role is None else role.name
        try:
            self._sessions.require(session, NEEDS.get(order.do, Role.engineer))
        except Forbidden as error:
            log.warning("%s (%s) was refused the order %s on the line %s", session.name, name, order.do, feed.name)
            # Whoever may not order anything must not fill the audit of those who may.
            raise error
        address = feed.line.control_address
        if address is None:
            raise TaktlineError(f'the line {feed.name} takes no orders from this dashboard: control = "none"')
        journal = feed.journal
        if journal is None:
            log.warning("%s (%s) orders the line %s: %s %s", session.name, name, feed.name, order.do, arguments)
            feed.model.told(tell_line(address, order, curve=feed.curve)["status"])
            return
        with AuditTrail(journal) as audit:
            number = audit.record(session.name, name, order.do, arguments, "given")
            try:
                answer = tell_line(address, order, curve=feed.curve)
            except TaktlineError as error:
                audit.finish(number, str(error))
                raise
            audit.finish(number, _DONE)
        # The page must not wait for the next time that the line is asked.
        feed.model.told(answer["status"])

    def label(self, session: Session, feed: LineFeed, key: VerdictKey, said: Said | None, note: str) -> Label | None:
        """Labels a part, or withdraws its label.

        Raises:
            Forbidden: the session's role does not suffice.
            TaktlineError: the label cannot be written.
        """
        self._sessions.require(session, _LABELS_NEED)
        journal = feed.journal
        if journal is None:
            raise TaktlineError(f"this machine cannot read the journal of {feed.name}, so its parts cannot be labelled")
        with LabelBook(journal) as book:
            return book.set(key, said, session.name, note)


def recent_orders(journal: Path | None, most: int = 20) -> list[OrderRecord]:
    """Returns the newest orders in a line's audit.

    Raises:
        TaktlineError: the audit cannot be read.
    """
    if journal is None:
        return []
    with AuditTrail(journal) as audit:
        return audit.newest(most)


def bundles_of(feed: LineFeed) -> dict[str, Path]:
    """Returns the bundles that may be deployed, by name: those beside the running one, or of the settings' folder.

    A browser chooses a name from these and never gives a path.
    """
    folder = feed.line.bundles
    status: dict[str, Any] = feed.model.status or {}
    running = status.get("places", {}).get("bundle")
    if folder is None and running and str(feed.line.control_address).startswith("ipc://"):
        folder = Path(running).parent
    found: dict[str, Path] = {}
    if folder is not None:
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                if len(found) < _MOST_BUNDLES and (path / MANIFEST).is_file():
                    found[path.name] = path
    return found
