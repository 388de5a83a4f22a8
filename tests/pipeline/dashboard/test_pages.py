"""The pages in Debian's Chromium: two lines with two cameras each, as people at the line use them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.journal.history import History
from pipeline.journal.selection import Selection
from tests.pipeline.dashboard.browser import Browser
from tests.pipeline.dashboard.site import RunningLine, Site

_LAMP = '.figures[data-key="{}/top"]'


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of something that the bundle has never seen, so that there are regions."""
    path = tmp_path_factory.mktemp("strange") / "noise.png"
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    return path


def test_a_wrong_password_is_refused(browser: Browser) -> None:
    browser.try_password("otto", "not otto's password")
    browser.until(lambda: browser.text("[role=alert]") == "Name or password is wrong.")
    browser.driver.get(f"{browser.url}/history")
    assert "/login" in browser.driver.current_url


def has_picture(browser: Browser, selector: str) -> bool:
    return bool(browser.run(
        "const i = document.querySelector(arguments[0]); return i && i.complete && i.naturalWidth > 200", selector
    ))  # fmt: skip


def test_a_tile_shows_what_a_camera_saw(browser: Browser, site: Site, strange: Path) -> None:
    browser.log_in("vera")
    browser.open("/")
    lamp = _LAMP.format("red")
    assert len(browser.driver.find_elements("css selector", ".tile")) == 4
    site.lines["red"].publish(strange, "R-1")
    browser.until(lambda: browser.text(f"{lamp} .lamp-word") == "NG")
    browser.until(lambda: browser.text(f"{lamp} .part-name") == "R-1")
    browser.until(lambda: "ng" in browser.text(f"{lamp} .counters"))
    tile = 'section[aria-label="top of red"]'
    # A line makes previews once somebody looks, so the first part may have none.
    for number in range(2, 10):
        site.lines["red"].publish(strange, f"R-{number}")
        if has_picture(browser, f"{tile} img"):
            break
    browser.until(lambda: has_picture(browser, f"{tile} img"))
    browser.until(lambda: browser.text(f"{tile} .legend-low").startswith("0"))
    heat, outline, regions = (browser.find(f"{tile} {part}") for part in (".heat", ".outline", ".regions"))
    browser.until(lambda: heat.size["width"] > 50)
    assert outline.is_displayed() and regions.is_displayed()
    browser.click('input[value="outline"]')
    browser.until(lambda: not heat.is_displayed() and browser.find(f"{tile} .outline").is_displayed())
    browser.click('input[value="off"]')
    browser.until(lambda: not browser.driver.find_elements("css selector", f"{tile} .outline, {tile} .regions"))
    browser.click('input[value="heatmap"]')
    browser.until(heat.is_displayed)


def test_history_finds_a_part_by_its_id_and_a_label_is_in_the_journal(
    browser: Browser, site: Site, picture: Path
) -> None:
    line = site.lines["red"]
    for part in ("H-17", "H-18", "H-19"):
        line.publish(picture, part)
    browser.log_in("otto")
    browser.open("/history?line=red")
    browser.find('input[name="part"]').send_keys("H-18")
    browser.click("button[type=submit].main-button")
    browser.until(lambda: browser.text(".summary .grow").startswith("1 part"))
    browser.click(".rows tbody a")
    browser.until(lambda: browser.text("h1").startswith("H-18"))
    browser.until(lambda: has_picture(browser, ".picture img"))
    browser.find("input[data-note]").send_keys("a scratch of the fixture")
    browser.click('button[data-shortcut="1"]')
    browser.until(lambda: browser.text(".said").startswith("false alarm: a scratch of the fixture (otto"))
    assert label_of(line, "H-18") == ("false alarm", "otto", "a scratch of the fixture")
    # The same by key, once nobody writes a text.
    browser.run("document.activeElement.blur()")
    browser.find("body").send_keys("3")
    browser.until(lambda: browser.text(".said").startswith("confirmed"))
    assert label_of(line, "H-18") == ("confirmed", "otto", "a scratch of the fixture")
    browser.open("/history?line=red&label=confirmed")
    assert browser.text(".summary .grow").startswith("1 part")


def label_of(line: RunningLine, part: str) -> tuple[str, str, str] | None:
    with History(line.journal) as history:
        label = history.page(Selection(part=part)).found[0].verdict.label
    return None if label is None else (label.label, label.by, label.note)


def test_newer_and_older_are_those_of_the_filter(browser: Browser, site: Site, picture: Path) -> None:
    line = site.lines["red"]
    for part in ("N-1", "X-1", "N-2"):
        line.publish(picture, part)
    browser.log_in("vera")
    browser.open("/history?line=red&part=N-*")
    browser.click(".rows tbody a")
    browser.until(lambda: browser.text("h1").startswith("N-2"))
    browser.find("body").send_keys("\ue014")
    browser.until(lambda: browser.text("h1").startswith("N-1"))
    assert not browser.driver.find_elements("css selector", "button[data-shortcut='1']"), "a viewer labels nothing"


def test_the_page_recovers_when_a_line_is_killed_and_comes_back(browser: Browser, site: Site, picture: Path) -> None:
    line = site.lines["red"]
    browser.log_in("vera")
    browser.open("/")
    browser.run("window.untouched = true")
    line.kill()
    trouble = '.troubles[data-line="red"]'
    browser.until(lambda: "does not answer" in browser.text(trouble))
    line.start()
    line.ready()
    line.publish(picture, "back-again")
    browser.until(lambda: browser.text(_LAMP.format("red") + " .part-name") == "back-again")
    browser.until(lambda: "does not answer" not in browser.run(
        "return document.querySelector(arguments[0]).textContent", trouble
    ))  # fmt: skip
    assert browser.run("return window.untouched === true"), "nobody had to load the page again"


def test_the_lines_page_says_how_good_its_bundle_is(browser: Browser, site: Site) -> None:
    browser.log_in("vera")
    browser.open("/line?line=red")
    # Whatever these parts look like: the panel names each quantity of each camera.
    browser.until(lambda: "brightness" in browser.text(".drift"))
    assert "standard deviations away" in browser.text(".drift")
    browser.until(lambda: "3 of 100 good parts" in browser.text(".panels"))
    shown = browser.text(".panels")
    assert "0.970 (0.960 to 0.980)" in shown
    assert "scratch" in shown and "9 of 10" in shown


@pytest.mark.parametrize("width", [1920, 1280, 390])
def test_no_page_is_wider_than_its_screen(width: int, browser: Browser) -> None:
    browser.log_in("emil")
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        for path in ("/", "/history?line=red", "/history?line=red&view=gallery", "/trends", "/line?line=red"):
            browser.open(path)
            browser.until(lambda: browser.run("return document.documentElement.scrollWidth") <= width)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
