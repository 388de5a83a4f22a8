"""Debian's Chromium, as a user of the dashboard uses it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from engines.closing import Closing
from tests.pipeline.dashboard.site import PASSWORDS

_PROGRAMS = ("chromium", "chromedriver")
_PATIENCE_S = 20
_ARGUMENTS = ("--headless=new", "--disable-gpu", "--window-size=1280,800", "--disable-background-networking")
# Notes when each verdict can be seen.
_WATCH = """
window.seen = {};
const lamp = document.querySelector(arguments[0]);
new MutationObserver(() => {
  const sequence = lamp.dataset.sequence;
  if (!(sequence in window.seen)) window.seen[sequence] = performance.timeOrigin + performance.now();
}).observe(lamp, { attributes: true, attributeFilter: ["data-sequence"] });
"""


def missing_programs() -> list[str]:
    return [name for name in _PROGRAMS if shutil.which(name) is None]


class Browser(Closing):
    """A headless browser, at the pages of one dashboard."""

    def __init__(self, url: str) -> None:
        self.url = url
        options = Options()
        options.binary_location = str(shutil.which("chromium"))
        for argument in (
            "--headless=new",
            "--disable-gpu",
            "--window-size=1280,800",
            "--disable-background-networking",
        ):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))

    def close(self) -> None:
        self.driver.quit()

    def log_in(self, name: str) -> None:
        """Logs in as another user; the one before is logged out."""
        self.try_password(name, PASSWORDS[name])
        self.until(lambda: "/login" not in self.driver.current_url)

    def try_password(self, name: str, password: str) -> None:
        """Fills in and sends the form."""
        self.driver.get(f"{self.url}/login")
        self.driver.delete_all_cookies()
        self.driver.get(f"{self.url}/login")
        self.find('input[name="name"]').send_keys(name)
        self.find('input[name="password"]').send_keys(password)
        self.find("button").click()

    def open(self, path: str) -> None:
        """Opens a page and waits until its socket is connected."""
        self.driver.get(f"{self.url}{path}")
        self.until(lambda: self.run("return window.did_handshake === true"))

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.until(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None))
        return found

    def click(self, selector: str) -> None:
        self.until(lambda: self._clicked(selector))

    def _clicked(self, selector: str) -> bool:
        element = self.find(selector)
        if not (element.is_displayed() and element.is_enabled()):
            return False
        element.click()
        return True

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, _PATIENCE_S, 0.05, [Exception]).until(lambda _: condition())

    def watch(self, selector: str) -> None:
        """Begins to note when each verdict can be seen on a lamp."""
        self.find(selector)
        self.run(_WATCH, selector)

    def seen(self) -> dict[int, float]:
        """When each verdict could be seen, in seconds since 1970."""
        return {int(sequence): at / 1000 for sequence, at in self.run("return window.seen").items()}

    def errors(self) -> list[str]:
        """What went wrong in the console since the last call, except for a password that was refused."""
        return [
            entry["message"]
            for entry in self._log("browser")
            if entry["level"] == "SEVERE" and "/login" not in entry["message"]
        ]

    def foreign_requests(self) -> list[str]:
        """What the pages asked for that is not on this machine, since the last call."""
        urls = []
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                urls.append(message["params"]["url"])
        own = urlsplit(self.url).netloc
        return [url for url in urls if urlsplit(url).scheme not in {"data", "blob"} and urlsplit(url).netloc != own]

    def _log(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.driver.get_log(name)  # type: ignore[no-untyped-call]
        return found
