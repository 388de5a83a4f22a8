"""Stands before every request and every socket: known host, own origin, a session. Nothing passes without."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.dashboard.sessions import Session, Sessions
from pipeline.dashboard.settings import Door

SESSION = "taktline.session"
_OPEN = frozenset({"/login", "/enter", "/favicon.ico"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_ANSWER = "No response returned."
_SOCKET = "/_nicegui_ws"
# NiceGUI compiles its templates in the browser, so scripts need eval; nothing comes from elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {sockets}; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Gatekeeper:
    """ASGI middleware that lets in only whom it knows, and puts the session into the scope as `taktline.session`.

    Args:
        app: what stands behind it.
        door: the settings.
        sessions: who is logged in.
        port: the port that was bound, which names the cookie: two dashboards on a machine share no log-in.
    """

    def __init__(self, app: ASGIApp, door: Door, sessions: Sessions, port: int) -> None:
        self._app, self._door, self._sessions = app, door, sessions
        self.cookie = f"taktline-{port}"
        self._names = {"localhost", socket.gethostname().lower(), door.host.lower(), *map(str.lower, door.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it itself."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._pass(scope, receive, self._with_headers(send, headers.get("host", "")))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, self._with_headers(send, headers.get("host", "")))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except RuntimeError as error:
            # Starlette's word for a browser that left while its page was built.
            if str(error) != _NO_ANSWER:
                raise

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        """Returns why a request does not pass, or None once it may; then the scope has its session."""
        host = headers.get("host", "")
        if not self._knows(host):
            return PlainTextResponse("This dashboard does not know that name; add it to names under [dashboard].", 421)
        path = scope["path"]
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE or path.startswith(_SOCKET)
        if changes and not _same_origin(headers.get("origin"), host):
            return PlainTextResponse("This came from another site.", 403)
        session = self._sessions.find(self._token(headers)) or self._sessions.everyone
        if session is not None and self._sessions.role(session) is not None:
            scope[SESSION] = session
            return None
        if path in _OPEN:
            return None
        if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"/login?to={quote(path)}", 303)
        return PlainTextResponse("Log in first.", 401)

    def _knows(self, host: str) -> bool:
        """Returns whether a browser may call this machine so; an unknown name may be another site's trick."""
        name = urlsplit(f"//{host}").hostname or ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True

    def _token(self, headers: dict[str, str]) -> str | None:
        # Not http.cookies: that reads none if another program on this host set one that it does not understand.
        return cookie_parser(headers.get("cookie", "")).get(self.cookie)

    def _with_headers(self, send: Send, host: str) -> Send:
        policy = _POLICY.format(sockets=f"ws://{host} wss://{host}")
        extra = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
        }

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode("latin-1")) for name, value in extra.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        return sending


def session_of(scope: Any) -> Session | None:
    """Returns the session that the gatekeeper put into a scope."""
    found = scope.get(SESSION)
    return found if isinstance(found, Session) else None


def _same_origin(origin: str | None, host: str) -> bool:
    """Returns whether a request comes from a page of this dashboard. Programs that are no browser send no origin."""
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()
