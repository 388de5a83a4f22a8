"""What stands around every page: its head, the way to the other pages, who is logged in, light and dark."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nicegui import ui

from pipeline.dashboard.gatekeeper import session_of
from pipeline.dashboard.sessions import Forbidden, Session
from pipeline.dashboard.users import Role

STATIC = Path(__file__).parent / "static"
PAGES = {"Live": "/", "History": "/history", "Trends": "/trends", "Line": "/line"}


@cache
def _version(name: str) -> str:
    """A browser keeps a file until it changes."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def this_session() -> Session:
    """Returns the session of the page that is being built.

    Raises:
        Forbidden: it has none.
    """
    session = session_of(ui.context.client.request.scope)
    if session is None:
        raise Forbidden("you are logged out; log in again")
    return session


@contextmanager
def page_frame(current: str, role: Role, *, logs_out: bool) -> Iterator[Session]:
    """Builds the frame of a page; its content is built within.

    Args:
        current: the page's name in `PAGES`.
        role: what the session may do.
        logs_out: whether the session can be ended.
    """
    session = this_session()
    ui.add_head_html(f'<script src="/static/taktline.js?{_version("taktline.js")}"></script>')
    ui.add_head_html(f'<link rel="stylesheet" href="/static/taktline.css?{_version("taktline.css")}">')
    with ui.element("header").classes("bar"):
        ui.link("Taktline", "/").classes("brand", remove="nicegui-link")
        with ui.element("nav").props('aria-label="Pages"'):
            for name, path in PAGES.items():
                link = ui.link(name, path).classes(remove="nicegui-link")
                if name == current:
                    link.props('aria-current="page"')
        ui.label(f"{session.name} ({role.name})").classes("who")
        button("Light / dark").on("click", js_handler="() => taktline.toggleDark()")
        if logs_out:
            with ui.element("form").props('method="post" action="/logout"'):
                ui.element("input").props(f'type="hidden" name="csrf" value="{session.csrf}"')
                button("Log out").props('type="submit"')
    with ui.element("main").classes("main"):
        yield session


def button(text: str) -> ui.element:
    """Returns a plain button."""
    with ui.element("button").classes("plain").props('type="button"') as made:
        ui.label(text)
    return made
