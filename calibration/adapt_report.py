"""The report of an adaptation: good parts' scores before and after, and what became of threshold and units."""

from __future__ import annotations

import html
from pathlib import Path

from calibration.plain_page import histogram, plain_page
from engines.adaptation import Adaptation
from engines.bundle import Bundle
from engines.files import save
from engines.manifest import Manifest

_MARGIN = 0.5


def write_adapt_report(path: Path, old: Bundle, new: Bundle) -> None:
    """Writes the report, a self-contained HTML file.

    Args:
        path: the file; it appears whole or not at all.
        old: the bundle that was adapted.
        new: what became of it.

    Raises:
        DataError: the file cannot be written.
    """
    adapted = new.manifest.adapted
    assert adapted is not None
    title = f"{new.manifest.category}: adapted to {adapted.samples} good parts"
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="sub">{html.escape(_summary(old, new))}</p>']
    body += [f"<p><b>Warning:</b> {html.escape(warning)}.</p>" for warning in adapted.warnings]
    body += ["<h2>Scores of good parts</h2>", *_histograms(old.manifest, new.manifest, adapted)]
    body += ["<h2>What changed</h2>", _table(old.manifest, new.manifest)]
    if adapted.left_out:
        items = "".join(f"<li>{html.escape(name)}</li>" for name in adapted.left_out)
        body += ["<h2>Left out, because they look defective</h2>", f"<ul>{items}</ul>"]
    save(path, plain_page(title, "\n".join(body)))


def _summary(old: Bundle, new: Bundle) -> str:
    adapted = new.manifest.adapted
    assert adapted is not None
    return (
        f"Bundle {new.short_id}, adapted from {old.short_id} at {adapted.adapted_at}. The network is unchanged. "
        f"{gains_sentence(adapted)}"
    )


def gains_sentence(adapted: Adaptation) -> str:
    """Says what becomes of frames before the network sees them."""
    if adapted.gains is None:
        return "Frames are left as they are."
    blue, green, red = adapted.gains
    return (
        f"Frames are brought back to the light of calibration: red x {red:.3f}, green x {green:.3f}, blue x {blue:.3f}."
    )


def _histograms(old: Manifest, new: Manifest, adapted: Adaptation) -> list[str]:
    before = (*adapted.old_scores, *adapted.new_scores, old.threshold.value)
    after = (*new.statistics.scores, new.threshold.value)
    limits = [(min(values) - _MARGIN, max(values) + _MARGIN) for values in (before, after)]
    return [
        histogram("As the old bundle was made", adapted.old_scores, limits[0], old.threshold.value),
        histogram("Parts of today in the old bundle", adapted.new_scores, limits[0], old.threshold.value),
        histogram("Parts of today in the new bundle, each measured by the others",
                  new.statistics.scores, limits[1], new.threshold.value),
    ]  # fmt: skip


def _table(old: Manifest, new: Manifest) -> str:
    adapted = new.adapted
    assert adapted is not None
    low, high = (value / 10 for value in new.threshold.interval_per_1000)
    rows = [
        ("mean of good parts, old sigma", "0", f"{adapted.kept.mean:.2f} (found {adapted.found.mean:.2f})"),
        ("their standard deviation, old sigma", "1", f"{adapted.kept.std:.2f} (found {adapted.found.std:.2f})"),
        ("threshold, each in its own sigma", f"{old.threshold.value:.2f}", f"{new.threshold.value:.2f}"),
        ("threshold, old sigma", f"{old.threshold.value:.2f}",
         f"{adapted.kept.mean + adapted.kept.std * new.threshold.value:.2f}"),
        ("of these parts rejected", f"{adapted.rejected_before:.0%}", ""),
        ("false alarms in the next 100 (99 %)", "", f"{low:.0f} to {high:.0f}"),
        ("cell of a defect, sigma", f"{old.heatmap.threshold:.2f}", f"{new.heatmap.threshold:.2f}"),
    ]  # fmt: skip
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="card"><thead><tr><th></th><th>old</th><th>new</th></tr></thead>{cells}</table>'
