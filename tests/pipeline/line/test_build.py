"""A line's cheap mistakes are told before its engine is opened, and nothing is left open."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from engines.bundle import Bundle, open_bundle, update_manifest
from engines.engine import Engine
from engines.errors import TaktlineError
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from tests.pipeline.line.test_takt import TimedEngine


def values(bundle: Path, drawn: Path, endpoint: str, **sections: Any) -> dict[str, Any]:
    camera = {"name": "top", "source": f"replay:{drawn}"}
    return {
        "model": {"bundle": str(bundle)}, "camera": [camera], "publish": {"verdicts": endpoint},
    } | sections  # fmt: skip


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"camera": [{"name": "top", "source": "replay:nowhere"}]}, "nowhere"),
        ({"camera": [{"name": "top", "source": "carrier-pigeon:7"}]}, "is of an unknown kind"),
        ({"publish": {"verdicts": "tcp://127.0.0.1:*", "replay": "{taken}"}, "journal": {"path": "j"}}, "in use"),
        ({"health": {"bind": "{taken_port}"}}, "cannot be bound"),
        ({"control": {"bind": "tcp://0.0.0.0:*"}}, "open to everyone"),
        ({"journal": {"path": "{folder}"}}, "is a folder"),
    ],
    ids=["folder", "source", "replay", "health", "control", "journal"],
)
def test_it_is_told_before_the_engine_is_opened(
    sections: dict[str, Any], told: str, bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    opened: list[Bundle] = []

    def opener(bundle: Bundle) -> Engine:
        opened.append(bundle)
        return TimedEngine(bundle.size, lambda _count: None)

    good = check_config(values(bundle_path, drawn, endpoint), "test")
    with build_line(good, opener=opener) as line:
        taken = {"taken": endpoint, "taken_port": endpoint.removeprefix("tcp://"), "folder": str(tmp_path)}
        bad: dict[str, Any] = {
            name: section if isinstance(section, list) else {key: text.format(**taken) for key, text in section.items()}
            for name, section in sections.items()
        }
        bad.setdefault("publish", {"verdicts": "tcp://127.0.0.1:*"})
        opened.clear()
        with pytest.raises(TaktlineError, match=told):
            build_line(check_config(values(bundle_path, drawn, endpoint, **bad), "test"), opener=opener)
        assert not opened
        assert line.status()["live"]


@pytest.mark.usefixtures("no_thread_left")
def test_what_was_opened_is_closed_where_the_engine_cannot_be(bundle_path: Path, drawn: Path, endpoint: str) -> None:
    def opener(_bundle: Bundle) -> Engine:
        raise TaktlineError("the card is gone")

    config = check_config(values(bundle_path, drawn, endpoint, health={"bind": "127.0.0.1:0"}), "test")
    for _ in range(2):
        # The second time, its address must be free again.
        with pytest.raises(TaktlineError, match="the card is gone"):
            build_line(config, opener=opener)


@pytest.mark.usefixtures("no_thread_left")
def test_a_bundle_without_thresholds_for_regions_is_refused_before_its_engine_is_opened(
    bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path
) -> None:
    opened: list[Bundle] = []

    def opener(bundle: Bundle) -> Engine:
        opened.append(bundle)
        return TimedEngine(bundle.size, lambda _count: None)

    old = Path(shutil.copytree(bundle_path, tmp_path / "old"))
    update_manifest(open_bundle(old), {"regions": []})
    decision = {"rule": "score-or-region", "min_region_px": 200}
    with pytest.raises(TaktlineError, match="has no thresholds for regions"):
        build_line(check_config(values(old, drawn, endpoint, decision=decision), "test"), opener=opener)
    assert not opened
    config = check_config(values(bundle_path, drawn, endpoint, decision=decision), "test")
    with build_line(config, opener=opener) as line:
        with pytest.raises(TaktlineError, match="has no thresholds for regions"):
            line.orders.deploy(old)
        assert len(opened) == 1
