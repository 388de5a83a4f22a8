"""Makes sure that a browser's socket speaks only for pages of its own session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import socketio
from nicegui import Client

from pipeline.dashboard.gatekeeper import SESSION

log = logging.getLogger(__name__)

# What a browser may send; each names the page that it is for.
_EVENTS = ("handshake", "event", "javascript_response", "ack", "log")


def guard_events(server: socketio.AsyncServer) -> None:
    """Lets each event through only if the socket and the page that it names belong to the same session.

    NiceGUI itself takes an event from whoever knows the id of a page.
    """
    for name in _EVENTS:
        server.on(name, _guarded(server, name, server.handlers["/"][name]))


def _guarded(server: socketio.AsyncServer, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
    async def guarded(sid: str, message: Any) -> Any:
        client = Client.instances.get(message.get("client_id", "")) if isinstance(message, dict) else None
        scope = (server.get_environ(sid) or {}).get("asgi.scope", {})
        session = scope.get(SESSION)
        if client is None:
            # A page from before this process began; the browser loads it again.
            return False
        if session is None or client.request.scope.get(SESSION) is not session:
            log.warning("an event '%s' for a page of another session was refused", name)
            return False
        result = handler(sid, message)
        return await result if hasattr(result, "__await__") else result

    return guarded
