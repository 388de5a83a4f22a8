"""Roles and orders in Debian's Chromium: what a page shows, and what the server refuses whatever a browser sends."""

from __future__ import annotations

from functools import partial

import pytest

from pipeline.journal.audit import AuditTrail
from tests.pipeline.dashboard.browser import Browser
from tests.pipeline.dashboard.site import RunningLine, Site
from tests.pipeline.parts import until

# Finds the server's element with a property, and sends the event of a click on it without clicking.
_FORGE = """
const [name, value, client] = arguments;
for (const [id, element] of Object.entries(mounted_app.elements)) {
  if (element.props?.[name] !== value) continue;
  const { listener_id } = element.events.find((event) => event.type === "click");
  window.socket.emit("event", { id: Number(id), client_id: client ?? window.clientId, listener_id, args: [] });
  return true;
}
return false;
"""


def audit(line: RunningLine) -> list[tuple[str, str, str]]:
    with AuditTrail(line.journal) as trail:
        return [(record.by, record.order, record.outcome) for record in trail.newest()]


@pytest.mark.parametrize("name", ["vera", "otto"])
def test_who_is_no_engineer_cannot_deploy(name: str, browser: Browser, site: Site) -> None:
    line = site.lines["blue"]
    before = line.status()
    browser.log_in(name)
    browser.open("/line?line=blue")
    assert not browser.find('button[data-order="deploy"]').is_enabled()
    for order in ("deploy", "threshold", *(["pause"] if name == "vera" else [])):
        assert browser.run(_FORGE, "data-confirm", order)
        browser.until(partial(says, browser, f"{order}: this needs the role"))
    after = line.status()
    assert before is not None and after is not None
    assert (after["bundle"], after["threshold"]) == (before["bundle"], before["threshold"])
    assert not [one for one in audit(line) if one[0] == name]


def test_a_page_of_another_session_takes_no_event(browser: Browser, site: Site) -> None:
    line = site.lines["blue"]
    browser.log_in("emil")
    browser.open("/line?line=blue")
    clients = browser.run("return window.clientId")
    listener = browser.run(
        "return Object.entries(mounted_app.elements).filter(([, e]) => e.props?.['data-confirm'] === 'pause')"
        ".map(([id, e]) => [Number(id), e.events.find((v) => v.type === 'click').listener_id])[0]"
    )
    engineer = browser.driver.current_window_handle
    cookies = browser.driver.get_cookies()
    browser.driver.switch_to.new_window("tab")
    try:
        browser.log_in("vera")
        browser.open("/line?line=blue")
        browser.run(
            "const [id, listener_id, client_id] = arguments;"
            "window.socket.emit('event', { id, client_id, listener_id, args: [] });",
            *listener, clients,
        )  # fmt: skip
        until(lambda: "of another session was refused" in site.log.read_text())
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(engineer)
        browser.driver.delete_all_cookies()
        for cookie in cookies:
            browser.driver.add_cookie(cookie)
    assert not [one for one in audit(line) if one[1] == "pause"]


def says(browser: Browser, text: str) -> bool:
    return text in browser.text("[role=status].said")


def confirm(browser: Browser, order: str) -> None:
    browser.click(f'button[data-order="{order}"]')
    browser.click(f'button[data-confirm="{order}"]')


def test_an_operator_pauses_and_an_engineer_deploys(browser: Browser, site: Site) -> None:
    line = site.lines["blue"]
    browser.log_in("otto")
    browser.open("/line?line=blue")
    confirm(browser, "pause")
    browser.until(lambda: "the line is paused" in browser.text(".troubles"))
    browser.find('button[data-order="resume"]')
    confirm(browser, "resume")
    until(lambda: line.status() is not None)
    browser.log_in("emil")
    browser.open("/line?line=blue")
    before = line.status()
    browser.click(".bundle-choice")
    browser.until(lambda: choose(browser, "next"))
    confirm(browser, "deploy")
    until(lambda: changed(line, "bundle", before))
    browser.until(lambda: "deploy" in browser.text(".audit"))
    assert ("emil", "deploy", "done") in audit(line)
    assert [one[:2] for one in audit(line)[1:]] == [("otto", "resume"), ("otto", "pause")]


def choose(browser: Browser, text: str) -> bool:
    for item in browser.driver.find_elements("css selector", ".q-menu .q-item"):
        if item.text == text:
            item.click()
            return True
    return False


def changed(line: RunningLine, name: str, before: dict[str, object] | None) -> bool:
    now = line.status()
    return now is not None and before is not None and now[name] != before[name]
