"""One browser and one site for all tests of the pages; they begin within seconds of each other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.dashboard.browser import Browser, missing_programs
from tests.pipeline.dashboard.site import Site


@pytest.fixture(scope="package")
def site(small_bundle_path: Path) -> Iterator[Site]:
    # Not pytest's own folder: the path of a socket file has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="tkl"))
    try:
        with Site(folder, small_bundle_path) as site:
            site.ready()
            yield site
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="package")
def chromium(site: Site) -> Iterator[Browser]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}; install them with: apt-get install chromium chromium-driver")
    with Browser(site.url) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser; after each test, nothing is wrong in its console, and nothing left this machine."""
    yield chromium
    assert chromium.errors() == []
    assert chromium.foreign_requests() == []


@pytest.fixture(scope="package")
def picture(drawn: Path) -> Path:
    return sorted((drawn / "test" / "good").iterdir())[0]
