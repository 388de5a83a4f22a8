"""Brings what is new to the browsers that show the live page: at most five times a second, made once for all."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from nicegui import Client

from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.line_model import LineModel
from pipeline.dashboard.sessions import Session, Sessions
from pipeline.dashboard.snapshot import chart_values, now_values, picture_values, slow_values

log = logging.getLogger(__name__)

# A part is shown at once, but a page gets at most five messages a second; figures and charts follow once a second.
_LOOK_S, _LEAST_S, _SLOW_S = 0.04, 0.2, 1.0

Values = dict[str, Any]


class LivePush:
    """Sends the state of all cameras to the open live pages.

    Args:
        feeds: the lines.
        sessions: a page whose session has ended gets nothing more.
    """

    def __init__(self, feeds: Sequence[LineFeed], sessions: Sessions) -> None:
        self._feeds, self._sessions = tuple(feeds), sessions
        self._pages: dict[str, tuple[Client, Session]] = {}
        self._sent: dict[str, tuple[int, bool]] = {}
        self._charted: dict[str, int] = {}
        self._pictured: dict[str, str | None] = {}

    def follow(self, client: Client, session: Session) -> None:
        """Keeps a page up to date for as long as a browser shows it."""
        client.on_connect(lambda: self._join(client, session))
        client.on_disconnect(lambda: self.leave(client))

    def _join(self, client: Client, session: Session) -> None:
        """Shows a page everything there is, and what is new from then on."""
        self._pages[client.id] = client, session
        whole = self._troubles()
        for feed in self._feeds:
            whole |= self._whole(feed)
        _send(client, json.dumps(whole))

    def leave(self, client: Client) -> None:
        """Sends nothing more to a page."""
        self._pages.pop(client.id, None)

    async def run(self) -> None:
        """Sends until it is cancelled."""
        sent = slowed = 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            if now - sent < _LEAST_S:
                continue
            slow = now - slowed >= _SLOW_S
            try:
                pages = self._open_pages()
                for feed in self._feeds:
                    feed.look(bool(pages))
                if pages and self._send_news(pages, slow=slow):
                    sent = now
            except Exception:
                # The page of a wall must go on after a mistake in one figure.
                log.exception("the live page could not be brought up to date")
            slowed = now if slow else slowed

    def _open_pages(self) -> list[Client]:
        found = []
        for client, session in list(self._pages.values()):
            if client.is_deleted:
                self.leave(client)
            elif self._sessions.role(session) is None:
                self.leave(client)
                client.run_javascript("location.assign('/login')")
            elif client.has_socket_connection:
                self._sessions.touch(session)
                found.append(client)
        return found

    def _send_news(self, pages: list[Client], *, slow: bool) -> bool:
        """Sends what is new, and returns whether anything was."""
        news: Values = {}
        for feed in self._feeds:
            with feed.model.cameras() as cameras:
                for camera in cameras:
                    key = f"{feed.name}/{camera.name}"
                    state = (camera.version, camera.is_holding)
                    if self._sent.get(key) == state:
                        continue
                    self._sent[key] = state
                    picture = picture_values(camera, feed.name)
                    news[key] = {"now": now_values(camera)}
                    url = None if picture is None else picture["url"]
                    if self._pictured.get(key) != url:
                        self._pictured[key] = url
                        news[key]["pic"] = picture
            if slow:
                self._add_slow(feed, news)
        if slow:
            news |= self._troubles()
        if news:
            text = json.dumps(news)
            for client in pages:
                _send(client, text)
        return bool(news)

    def _add_slow(self, feed: LineFeed, news: Values) -> None:
        for key, values, version in _slow(feed.model):
            charts = values.pop("charts")
            if self._charted.get(key) != version:
                self._charted[key] = version
                values["charts"] = charts
            news[key] = news.get(key, {}) | values

    def _whole(self, feed: LineFeed) -> Values:
        whole: Values = {key: values for key, values, _ in _slow(feed.model)}
        with feed.model.cameras() as cameras:
            for camera in cameras:
                whole[f"{feed.name}/{camera.name}"] |= {
                    "now": now_values(camera), "pic": picture_values(camera, feed.name),
                }  # fmt: skip
        return whole

    def _troubles(self) -> Values:
        """Returns what is wrong with each line, and which cameras there are."""
        values: Values = {}
        for feed in self._feeds:
            values[f"line/{feed.name}"] = {"troubles": feed.model.troubles(), "cameras": feed.model.names}
        return values


def _slow(model: LineModel) -> list[tuple[str, Values, int]]:
    since = "since this dashboard began" if model.status is None else "since the line began"
    found = []
    for name in model.names:
        counts = model.counts(name)
        with model.camera(name) as camera:
            values = {
                "slow": slow_values(camera, counts, model.takt_ms, since),
                "charts": chart_values(camera, model.takt_ms),
            }
            found.append((f"{model.name}/{name}", values, camera.version))
    return found


def _send(client: Client, text: str) -> None:
    client.run_javascript(f"taktline.show({text})")
