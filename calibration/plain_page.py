"""HTML pages for a line PC, which has no template engine: the layout of all reports, and drawings without a library."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from engines.image import Image
from engines.overlay import encode_jpeg

_BINS = 40
_WIDTH, _HEIGHT, _ROOM = 560, 200, 24


def plain_page(title: str, body: str) -> str:
    """Returns a self-contained page in the layout of the other reports.

    Args:
        title: plain text.
        body: HTML.
    """
    page = files("calibration").joinpath("templates/page.html").read_text("utf-8")
    blocks = {"title": html.escape(title), "style": _STYLE, "content": body}
    for name, content in blocks.items():
        page = page.replace(f"{{% block {name} %}}{{% endblock %}}", content)
    return page


def histogram(title: str, scores: Sequence[float], limits: tuple[float, float], threshold: float) -> str:
    """Draws a histogram of good parts' scores with a threshold, as inline SVG.

    Args:
        title: plain text.
        scores: those outside the limits are shown at them.
        limits: left and right end.
        threshold: marked by a line; parts above it are red.
    """
    low, high = limits
    scale = _WIDTH / (high - low)
    counts, edges = np.histogram(np.clip(scores, low, high), _BINS, limits)
    most = max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{scale * (left - low):.1f}" y="{_HEIGHT * (1 - count / most):.1f}" width="{_WIDTH / _BINS - 1:.1f}" '
        f'height="{_HEIGHT * count / most:.1f}" fill="var(--{"bad" if left >= threshold else "good"})"/>'
        for count, left in zip(counts.tolist(), edges.tolist(), strict=False)
    )
    at = scale * (threshold - low)
    return (
        f'<figure class="plot"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _ROOM}" role="img">{bars}'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_HEIGHT}" stroke="#20262d" stroke-dasharray="4"/>'
        f'<text x="0" y="{_HEIGHT + 17}">{low:.1f}</text>'
        f'<text x="{at:.1f}" y="{_HEIGHT + 17}" text-anchor="middle">threshold {threshold:.2f}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 17}" text-anchor="end">{high:.1f} sigma</text></svg></figure>'
    )


def embedded(picture: Image | bytes) -> str:
    """Returns a picture, or one that is JPEG already, as a data URL."""
    data = picture if isinstance(picture, bytes) else encode_jpeg(picture)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


_STYLE = """
  figure.plot { margin: 0 0 .8rem } figure.plot svg { width: 100%; font: 12px system-ui, sans-serif }
  .gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: .8rem }
  .gallery figure { margin: 0; background: #fff; border: 1px solid var(--edge); border-radius: 8px; overflow: hidden }
  .gallery img { width: 50%; display: inline-block; vertical-align: top } .gallery figcaption { padding: .5rem .8rem }
"""
