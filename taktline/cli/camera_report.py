"""The report of a camera check: each camera's picture beside a good one of calibration."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from calibration.plain_page import embedded, plain_page
from engines.bundle import Bundle
from engines.files import save
from engines.image import Image, read_image, to_bgr
from engines.looks import GOOD_PICTURE
from pipeline.line.camera_check import CameraCheck

_SIDE = 480


def write_camera_report(path: Path, bundle: Bundle, checks: Sequence[CameraCheck]) -> None:
    """Writes the report, a self-contained HTML file.

    Args:
        path: the file; it appears whole or not at all.
        bundle: holds the good picture.
        checks: what each camera showed.

    Raises:
        DataError: the file cannot be written.
    """
    good = read_image(bundle.file(GOOD_PICTURE))
    title = f"{bundle.manifest.category}: what the cameras see"
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="sub">Compared with bundle {bundle.short_id}.</p>']
    for check in checks:
        body += [f"<h2>{html.escape(check.camera)}</h2>", f"<p>{html.escape(check.sentence)}.</p>"]
        body += [f"<p>{html.escape(remedy[0].upper() + remedy[1:])}.</p>" for remedy in check.remedies]
        if check.picture is not None:
            body.append(_side_by_side(good, to_bgr(check.picture)))
    save(path, plain_page(title, "\n".join(body)))


def _side_by_side(good: Image, seen: Image) -> str:
    """Both in the shape of the camera's frame: the good picture was kept in that of the network's input."""
    scale = min(1.0, _SIDE / max(seen.shape[:2]))
    size = (max(1, round(seen.shape[1] * scale)), max(1, round(seen.shape[0] * scale)))
    figures = "".join(
        f'<figure style="display:inline-block;margin:0 1rem 1rem 0"><img src="'
        f'{embedded(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))}" '
        f'alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        for image, caption in ((good, "a good part at calibration"), (seen, "now"))
    )
    return f"<div>{figures}</div>"
