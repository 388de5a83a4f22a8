"""The pages and their addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nicegui import ui

from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.filters import Filters, read_key
from pipeline.dashboard.frame import page_frame, this_session
from pipeline.dashboard.history_page import history_page
from pipeline.dashboard.line_page import line_page
from pipeline.dashboard.live_page import live_page
from pipeline.dashboard.live_push import LivePush
from pipeline.dashboard.orders import Orders
from pipeline.dashboard.part_page import part_page
from pipeline.dashboard.sessions import Session, Sessions
from pipeline.dashboard.store_history import HistoryPlace
from pipeline.dashboard.trends_page import trends_page
from pipeline.dashboard.users import Role

# The trends of a month, of a million parts, on a slow disk.
_LONGEST_S = 60.0


class Pages:
    """All pages of the dashboard.

    Args:
        feeds: the lines.
        push: brings news to the live page.
        sessions: tells what a session may do.
    """

    def __init__(self, feeds: Sequence[LineFeed], push: LivePush, sessions: Sessions) -> None:
        self._feeds = {feed.name: feed for feed in feeds}
        self._push, self._sessions, self._orders = push, sessions, Orders(sessions)

    def add(self) -> None:
        """Adds the pages to NiceGUI."""
        ui.page("/", title="Live - Taktline")(self._live)
        ui.page("/history", title="History - Taktline", response_timeout=_LONGEST_S)(self._history)
        ui.page("/part", title="Part - Taktline", response_timeout=_LONGEST_S)(self._part)
        ui.page("/trends", title="Trends - Taktline", response_timeout=_LONGEST_S)(self._trends)
        ui.page("/line", title="Line - Taktline", response_timeout=_LONGEST_S)(self._line)

    def _live(self) -> None:
        with self._frame("Live") as (session, _):
            live_page(list(self._feeds.values()), self._push, session)

    async def _history(self) -> None:
        query = dict(ui.context.client.request.query_params)
        feed = self._chosen(query)
        with self._frame("History"):
            filters = Filters.read(query | {"line": feed.name})
            await history_page(self._places, feed.model.names, filters, query.get("after", ""))

    async def _part(self) -> None:
        query = dict(ui.context.client.request.query_params)
        feed, key = self._chosen(query), read_key(query.get("key"))
        with self._frame("History") as (session, role):
            filters = Filters.read(query | {"line": feed.name})
            if key is None:
                ui.label("This address names no part.").classes("trouble")
                return
            await part_page(feed, filters, key, session, self._orders, may_label=role >= Role.operator)

    async def _trends(self) -> None:
        query = dict(ui.context.client.request.query_params)
        feed = self._chosen(query)
        with self._frame("Trends"):
            await trends_page(self._places, feed.model.names, query | {"line": feed.name})

    async def _line(self) -> None:
        feed = self._chosen(dict(ui.context.client.request.query_params))
        with self._frame("Line") as (session, role):
            await line_page(feed, list(self._feeds), session, role, self._orders, self._push)

    @property
    def _places(self) -> dict[str, HistoryPlace | None]:
        return {name: feed.history for name, feed in self._feeds.items()}

    def _chosen(self, query: dict[str, str]) -> LineFeed:
        """Returns the line of an address; the first one if it names none that is watched."""
        return self._feeds.get(query.get("line", "")) or next(iter(self._feeds.values()))

    @contextmanager
    def _frame(self, current: str) -> Iterator[tuple[Session, Role]]:
        session = this_session()
        role = self._sessions.role(session) or Role.viewer
        with page_frame(current, role, logs_out=session is not self._sessions.everyone):
            yield session, role
