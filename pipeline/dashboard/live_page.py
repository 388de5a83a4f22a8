"""The live page: what is wrong, and a tile for each camera."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui
from nicegui.element import Element

from pipeline.dashboard.charts import latency_chart, score_chart
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.heat_scale import heat_scale
from pipeline.dashboard.live_push import LivePush
from pipeline.dashboard.sessions import Session

# Tiles beside each other on a large screen.
_COLUMNS = {0: 1, 1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}
_FEW = 2
_NO_PREVIEWS = "No picture has come. The line sends them with previews = 5 under [publish]."


class Lamp(Element, component="lamp.js"):
    """A camera's lamp, counters and figures. It also feeds the two charts."""

    def __init__(self, key: str, camera: str, score: ui.echart, latency: ui.echart) -> None:
        super().__init__()
        self._props |= {"k": key, "camera": camera, "score_chart": score.id, "latency_chart": latency.id}


class PictureView(Element, component="picture.js"):
    """A picture with its heatmap and regions.

    Args:
        key: whose data it takes.
        label: what the picture is of.
        none: what stands there without one.
        fixed: a picture that does not change, as `picture_values` returns it.
    """

    def __init__(self, key: str, label: str, none: str, fixed: dict[str, object] | None = None) -> None:
        super().__init__()
        self._props |= {"k": key, "label": label, "none": none, "scale": heat_scale(), "fixed": fixed}


class ViewBar(Element, component="viewbar.js"):
    """How heatmaps are shown. The browser keeps it, and the server does not hear of it."""


class Troubles(Element, component="troubles.js"):
    """What is wrong with a line, in words."""

    def __init__(self, line: str, cameras: Sequence[str]) -> None:
        super().__init__()
        self._props |= {"k": f"line/{line}", "line": line, "cameras": list(cameras)}


def live_page(feeds: Sequence[LineFeed], push: LivePush, session: Session) -> None:
    """Builds the live page within its frame."""
    for feed in feeds:
        Troubles(feed.name, feed.model.names)
    ViewBar()
    tiles = [(feed.name, name) for feed in feeds for name in feed.model.names]
    few = " few" if len(tiles) <= _FEW else ""
    with ui.element("div").classes(f"tiles{few}").style(f"--columns: {_COLUMNS.get(len(tiles), 4)}"):
        for line, camera in tiles:
            _tile(line, camera)
    push.follow(ui.context.client, session)


def _tile(line: str, camera: str) -> None:
    key = f"{line}/{camera}"
    with ui.element("section").classes("tile").props(f'aria-label="{camera} of {line}"'):
        with ui.element("h2"):
            ui.label(camera)
            ui.label(line).classes("soft")
        PictureView(key, camera, _NO_PREVIEWS)
        with ui.element("div").classes("right"):
            place = ui.element("div").classes("place")
            ui.label("score of the last 500 parts, in sigma; dashed: threshold").classes("chart-name")
            score = ui.echart(score_chart()).classes("score-chart")
            ui.label("latency; solid p50, dotted p99, dashed takt").classes("chart-name")
            latency = ui.echart(latency_chart()).classes("latency-chart")
            with place:
                Lamp(key, camera, score, latency)
