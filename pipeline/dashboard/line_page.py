"""The line's page: what runs, how fast, what it is expected to do, and the orders it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nicegui import ui

from engines.bundle import MANIFEST
from engines.errors import TaktlineError
from engines.manifest import Manifest
from pipeline.dashboard.background import read
from pipeline.dashboard.charts import scores_histogram
from pipeline.dashboard.drift_panel import drift_panel, recent_events
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.live_page import Troubles
from pipeline.dashboard.live_push import LivePush
from pipeline.dashboard.order_panel import audit_table, expected, order_panel
from pipeline.dashboard.orders import Orders, bundles_of, recent_orders
from pipeline.dashboard.sessions import Session
from pipeline.dashboard.tables import facts, panel, say, table
from pipeline.dashboard.users import Role

_MOST_MANIFEST_BYTES = 8 << 20


async def line_page(
    feed: LineFeed, names: list[str], session: Session, role: Role, orders: Orders, push: LivePush
) -> None:
    """Builds the page of a line."""
    if len(names) > 1:
        with ui.element("nav").classes("pager").props('aria-label="Lines"'):
            for name in names:
                link = ui.link(name, f"/line?line={name}").classes("go")
                if name == feed.name:
                    link.props('aria-current="page"')
    Troubles(feed.name, feed.model.names)
    push.follow(ui.context.client, session)
    status = feed.model.status
    if status is None:
        say(f"{feed.name} has not told its status yet. Load this page again once it answers.")
        return
    manifest = await read(_manifest, status.get("places", {}).get("bundle"))
    with ui.element("div").classes("panels"):
        _engine(status)
        _bundle(status, manifest)
        _evaluation(manifest)
        _cameras(feed, status)
        order_panel(feed, session, role, orders, await read(bundles_of, feed), manifest)
    drift_panel(status, await read(recent_events, feed.journal))
    try:
        audit_table(await read(recent_orders, feed.journal))
    except TaktlineError as error:
        say(f"{error}.")


def _manifest(folder: str | None) -> Manifest | None:
    """Reads the manifest of the running bundle, if it lies on this machine; the line has checked it."""
    if folder is None:
        return None
    path = Path(folder) / MANIFEST
    try:
        if path.stat().st_size > _MOST_MANIFEST_BYTES:
            return None
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _engine(status: Mapping[str, Any]) -> None:
    engine, choice = status["engine"], status["engine"].get("choice")
    with panel("Engine"):
        facts({
            "runs": f"{engine['name']} {engine['precision']} on {engine['device']}",
            "state": "running" if engine["up"] else "down",
            "fail-overs": str(engine["failovers"]),
            "takt": "none" if status.get("takt_ms") is None else f"{status['takt_ms']:g} ms",
        })  # fmt: skip
        if choice is None:
            ui.label("The line file names the engine, so nothing was measured.").classes("soft")
            return
        ui.label(f"Measured on this machine, {choice['measured_at'][:16].replace('T', ' ')} UTC:").classes("soft")
        rows = [
            (
                f"{one['engine']} {one['device']} {one['precision']}",
                one["left_out"] or f"{one['images_per_s']:.3g} images/s",
            )
            for one in choice["candidates"]
        ]
        table(("engine", "speed"), rows)


def _bundle(status: Mapping[str, Any], manifest: Manifest | None) -> None:
    with panel("Bundle and threshold"):
        if manifest is None:
            facts({"bundle": status["bundle"], "threshold": f"{status['threshold']:g} sigma"})
            ui.label("Its manifest is not on this machine.").classes("soft")
            return
        threshold, current = manifest.threshold, float(status["threshold"])
        facts({
            "part": manifest.category,
            "bundle": status["bundle"],
            "made": manifest.created_at[:16].replace("T", " "),
            "trained on": f"{manifest.training.normals} good parts",
            "threshold": f"{current:g} sigma"
            + ("" if current == threshold.value else f" (the bundle's own is {threshold.value:g})"),
            "false alarms to expect": expected(manifest, current),
        })  # fmt: skip
        if threshold.warning is not None and current == threshold.value:
            ui.label(threshold.warning).classes("soft")
        ui.label("scores of good parts that were held out").classes("chart-name")
        ui.echart(scores_histogram(manifest.statistics.scores, current)).classes("histogram")


def _evaluation(manifest: Manifest | None) -> None:
    if manifest is None:
        return
    found = manifest.evaluated
    with panel("How good the bundle is"):
        if found is None:
            ui.label("Nobody has said so: call taktline evaluate BUNDLE DATA --keep.").classes("soft")
            return
        interval = "" if found.auroc_interval is None else " ({:.3f} to {:.3f})".format(*found.auroc_interval)
        facts({
            "evaluated on": f"{found.data}, {found.evaluated_at[:16].replace('T', ' ')} UTC, {found.engine}",
            "at the threshold": f"{found.threshold:g} sigma",
            "false alarms": f"{found.false_alarms} of {found.good} good parts",
            "missed": f"{found.misses} of {found.defective} defective parts",
            "precision, recall": f"{_figure(found.precision)}, {_figure(found.recall)}",
            "F1, accuracy": f"{_figure(found.f1)}, {_figure(found.accuracy)}",
            "AUROC": _figure(found.auroc) + interval,
            "pixel AUROC": _figure(found.pixel_auroc),
        })  # fmt: skip
        if found.defects:
            rows = [(kind, f"{one.found} of {one.parts}") for kind, one in found.defects.items()]
            table(("defect", "found"), rows)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cameras(feed: LineFeed, status: Mapping[str, Any]) -> None:
    rows = []
    for name, camera in status["cameras"].items():
        last = camera["last_frame_s"]
        with feed.model.camera(name) as seen:
            looks = seen.second_looks
        rows.append((
            name, f"{camera['frames']:,}", "-" if last is None else f"{last:.1f} s ago", _count(camera["reconnects"]),
            _count(camera["lost_frames"]), "-" if looks is None else f"{looks:.1%}", camera["trouble"] or "well",
        ))  # fmt: skip
    with panel("Cameras"):
        table(("camera", "frames", "last", "reconnects", "lost", "second looks", "health"), rows)


def _count(number: int | None) -> str:
    """A folder or a feed has nothing to reconnect to."""
    return "-" if number is None else f"{number:,}"
