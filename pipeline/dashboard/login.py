"""Logging in and out: plain forms, without a script, before anything else of the dashboard is reachable."""

from __future__ import annotations

import asyncio
import html
import logging
import math
import secrets
from string import Template
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from pipeline.dashboard.frame import STATIC
from pipeline.dashboard.gatekeeper import session_of
from pipeline.dashboard.sessions import Sessions, Throttle
from pipeline.dashboard.users import MOST_PASSWORD, Role

log = logging.getLogger(__name__)

_MOST_FORM_BYTES = 4096
# Each takes 64 MiB.
_CHECKS_AT_ONCE = 2


class LogIn:
    """The routes for logging in and out.

    Args:
        sessions: where a session begins.
        cookie: the cookie that holds its token.
        secure: whether the page is served with TLS only.
    """

    def __init__(self, sessions: Sessions, cookie: str, *, secure: bool) -> None:
        self._sessions, self._cookie, self._secure = sessions, cookie, secure
        self._form_cookie = f"{cookie}-form"
        self._throttle = Throttle()
        self._checking = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._page = Template((STATIC / "login.html").read_text(encoding="utf-8"))

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        app.add_api_route("/login", self._show, methods=["GET"], response_class=HTMLResponse)
        app.add_api_route("/login", self._log_in, methods=["POST"])
        app.add_api_route("/logout", self._log_out, methods=["POST"])
        app.add_api_route("/enter", self._enter, methods=["GET"])

    def _show(self, request: Request) -> Response:
        return self._form(_target(request.query_params.get("to", "/")))

    async def _log_in(self, request: Request) -> Response:
        values = await _form(request)
        to = _target(values.get("to", "/"))
        users = self._sessions.users
        sent, kept = values.get("csrf", ""), request.cookies.get(self._form_cookie, "")
        if not kept or not secrets.compare_digest(sent.encode(), kept.encode()):
            return self._form(to, "The page was open for too long. Try again.", 403)
        name, password = values.get("name", "")[:64], values.get("password", "")[: MOST_PASSWORD + 1]
        address = request.client.host if request.client else ""
        wait = self._throttle.wait_s(address, name)
        if wait > 0:
            return self._form(to, f"Too many attempts. Try again in {math.ceil(wait)} seconds.", 429)
        if users is None:
            return self._form(to, "This dashboard has no users.", 403)
        # Counted before it is checked, so that many attempts at once do not all pass.
        self._throttle.failed(address, name)
        async with self._checking:
            user = await run_in_threadpool(users.check, name, password)
        if user is None:
            log.warning("a wrong password was given for the user %r, from %s", name, address)
            return self._form(to, "Name or password is wrong.", 401)
        self._throttle.succeeded(address, name)
        return self._begin(user.name, None, to)

    def _enter(self, request: Request) -> Response:
        """Lets in whoever read the key from the terminal of this machine."""
        if not self._sessions.is_entry_key(request.query_params.get("key", "")):
            return PlainTextResponse("This link is not valid; take the newest from the terminal.", 403)
        return self._begin("local", Role.engineer, "/")

    async def _log_out(self, request: Request) -> Response:
        session = session_of(request.scope)
        values = await _form(request)
        if session is None or not secrets.compare_digest(values.get("csrf", "").encode(), session.csrf.encode()):
            return RedirectResponse("/", 303)
        self._sessions.end(session)
        answer = RedirectResponse("/login" if self._sessions.users else "/", 303)
        answer.delete_cookie(self._cookie)
        return answer

    def _begin(self, name: str, role: Role | None, to: str) -> Response:
        answer = RedirectResponse(to, 303)
        self._set(answer, self._cookie, self._sessions.begin(name, role))
        answer.delete_cookie(self._form_cookie)
        return answer

    def _form(self, to: str, message: str = "", status: int = 200) -> Response:
        token = secrets.token_urlsafe(24)
        values = {"to": html.escape(to), "csrf": token, "message": html.escape(message)}
        answer = HTMLResponse(self._page.substitute(values), status, {"cache-control": "no-store"})
        self._set(answer, self._form_cookie, token)
        return answer

    def _set(self, answer: Response, name: str, value: str) -> None:
        answer.set_cookie(name, value, httponly=True, samesite="lax", secure=self._secure, path="/")


async def _form(request: Request) -> dict[str, str]:
    """Returns a form's values; nothing if it is no form, or too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            return {}
    try:
        found = parse_qs(body.decode(), max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def _target(to: str) -> str:
    """Returns a page of this dashboard: never another site's."""
    return to if to.startswith("/") and not to.startswith("//") and "\\" not in to and "\n" not in to else "/"
