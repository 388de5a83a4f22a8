"""The page that shows every overlay of a demonstration with its verdict."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from engines.files import save


def write_gallery(page: Path, overlays: Path, verdicts: list[dict[str, Any]]) -> Path:
    """Writes an HTML page that shows every overlay with its verdict, highest score first.

    Args:
        page: file to write; the overlays' folder is beside it.
        overlays: folder of PNG files whose names begin with their verdict's sequence.
        verdicts: verdicts as JSON values.

    Returns:
        The page.

    Raises:
        DataError: it cannot be written.
    """
    pictures = {int(path.name.split("_", 1)[0]): path for path in sorted(overlays.glob("*.png"))}
    figures = []
    for verdict in sorted(verdicts, key=lambda item: -(item["score"] or 0.0)):
        path = pictures.get(verdict["sequence"])
        if path is None:
            continue
        caption = (
            f"<b>{verdict['verdict']}</b> {verdict['score']:.2f} / {verdict['threshold']:.2f}"
            f"<br>{html.escape(verdict['part'] or '')}"
        )
        figures.append(
            f'<figure class="{verdict["verdict"]}"><img src="{html.escape(overlays.name)}/'
            f'{html.escape(path.name)}" loading="lazy" alt=""><figcaption>{caption}</figcaption></figure>'
        )
    save(page, _PAGE.replace("@FIGURES@", "\n".join(figures)))
    return page


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Taktline: inspected parts</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { margin: 2rem; background: #14171a; color: #e8eaed; font: 15px/1.4 system-ui, sans-serif }
  h1 { font-weight: 600 } p { max-width: 60rem; color: #aab0b6 }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1rem }
  figure { margin: 0; background: #1f2428; border-radius: 6px; overflow: hidden; border-top: 4px solid #2e9e5b }
  figure.ng { border-top-color: #e5484d } img { width: 100%; display: block }
  figcaption { padding: .5rem .7rem; font-size: 13px; color: #aab0b6 }
  figcaption b { color: #e8eaed; text-transform: uppercase }
</style></head><body>
<h1>Inspected parts</h1>
<p>Each part with its score and the threshold, in sigma of good parts, highest score first. All heatmaps share one
scale. The white line outlines everything above the heatmap's own threshold.</p>
<main>
@FIGURES@
</main></body></html>
"""
