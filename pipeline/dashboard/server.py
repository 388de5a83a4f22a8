"""The dashboard's process: watches lines, serves the page, and ends cleanly."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from nicegui import core, ui
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from engines.closing import Closing, closed_on_error
from engines.errors import ConfigError
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.frame import STATIC
from pipeline.dashboard.gatekeeper import Gatekeeper
from pipeline.dashboard.kept_files import KeptFiles
from pipeline.dashboard.live_push import LivePush
from pipeline.dashboard.login import LogIn
from pipeline.dashboard.pages import Pages
from pipeline.dashboard.sessions import Sessions
from pipeline.dashboard.settings import DashboardConfig
from pipeline.dashboard.socket_guard import guard_events
from pipeline.dashboard.users import PasswordFile

log = logging.getLogger(__name__)

_BACKLOG, _MOST_CONNECTIONS = 128, 500
_GRACE_S = 2
_MOST_MESSAGE_BYTES = 256 << 10


class Dashboard(Closing):
    """Watches lines and serves their page. One in a process: NiceGUI keeps its state in the module.

    The constructor binds the address.

    Args:
        config: the settings.

    Attributes:
        url: where the page is.

    Raises:
        ConfigError: the page would be open to everyone, or something in the settings cannot be used.
    """

    def __init__(self, config: DashboardConfig) -> None:
        door = config.dashboard
        door.check()
        self.sessions = Sessions(None if door.users is None else PasswordFile(door.users))
        self._door = door
        self._feeds = [LineFeed(line) for line in config.line]
        self._push = LivePush(self._feeds, self.sessions)
        try:
            family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
            self._socket = socket.create_server((door.host, door.port), family=family, backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"the address {door.bind} cannot be bound ({error}); give another with bind") from error
        with closed_on_error(self):
            port = self._socket.getsockname()[1]
            host = f"[{door.host}]" if ":" in door.host else door.host
            self.url = f"{'http' if door.certificate is None else 'https'}://{host}:{port}"
            self._server = self._build(port)

    @property
    def entry(self) -> str:
        """The address to open. Where there is no password file, it lets in with all rights."""
        return self.url if self.sessions.users else f"{self.url}/enter?key={self.sessions.entry_key}"

    def run(self, on_start: Callable[[], None] | None = None) -> None:
        """Serves until `stop`."""
        for feed in self._feeds:
            feed.start()
        if on_start is not None:
            on_start()
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Ends `run`; may be called from a signal's handler."""
        self._server.should_exit = True

    def close(self) -> None:
        """Frees the address and ends the threads."""
        self._socket.close()
        for feed in self._feeds:
            feed.close()

    def _build(self, port: int) -> uvicorn.Server:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=self._lifespan)
        secure = self._door.certificate is not None
        LogIn(self.sessions, f"taktline-{port}", secure=secure).add_to(app)
        app.mount("/static", StaticFiles(directory=STATIC))
        app.add_api_route("/live/{line}/{camera}/{epoch}/{sequence}.jpg", self._preview, methods=["GET"])
        KeptFiles({feed.name: feed for feed in self._feeds}).add_to(app)
        Pages(self._feeds, self._push, self.sessions).add()
        ui.run_with(
            app, title="Taktline", dark=None, tailwind=False, show_welcome_message=False, reconnect_timeout=5.0,
            message_history_length=100, binding_refresh_interval=None, language="en-GB",
        )  # fmt: skip
        guard_events(core.sio)
        gatekeeper = Gatekeeper(app, self._door, self.sessions, port)
        return _Server(
            uvicorn.Config(
                gatekeeper, log_config=None, log_level=logging.WARNING, access_log=False, server_header=False,
                proxy_headers=False, ws_per_message_deflate=False, ws_max_size=_MOST_MESSAGE_BYTES,
                limit_concurrency=_MOST_CONNECTIONS, timeout_graceful_shutdown=_GRACE_S,
                ssl_certfile=self._door.certificate, ssl_keyfile=self._door.key,
            )
        )  # fmt: skip

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        pushing = asyncio.create_task(self._push.run())
        try:
            yield
        finally:
            pushing.cancel()
            with suppress(asyncio.CancelledError):
                await pushing

    async def _preview(self, line: str, camera: str, epoch: str, sequence: int) -> Response:
        """Returns a preview from memory."""
        feed = next((feed for feed in self._feeds if feed.name == line), None)
        picture = None if feed is None else feed.model.picture(camera, (epoch, sequence))
        if picture is None:
            return Response(status_code=404)
        return Response(picture.jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})


class _Server(uvicorn.Server):
    """A server that leaves signals to the command."""

    @contextmanager
    def capture_signals(self) -> Iterator[Any]:
        """Captures none."""
        yield
