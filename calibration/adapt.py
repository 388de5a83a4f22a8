"""Adapts a bundle to good parts as they look now: new units, threshold and bands, without training and without PyTorch.

Light ages, a fixture moves, a supplier changes. Pictures are brought back to the light of calibration, where that
brings good parts closer to where they lay. Then it is measured where good parts lie now. The network stays as it is.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.dataset import find_dataset, list_images
from calibration.drift import PRIOR_PARTS, each_by_the_others, estimate, stand_out
from calibration.heat_scale import region_threshold, seen_cells
from calibration.light import measure_appearance
from calibration.looks import write_looks
from calibration.prediction import expected_share, rejected_interval
from calibration.progress import Reporter, silent
from calibration.today import Today, look_at, read_parts
from engines.adaptation import Adaptation, Appearance, Units
from engines.bundle import Bundle, new_bundle, open_bundle, write_manifest
from engines.errors import DataError
from engines.look_meter import visible_of
from engines.manifest import Heatmap, Manifest, Threshold

LEAST_PARTS = 9
ENOUGH_PARTS = 20
MOST_LEFT_OUT = 0.2
_WIDER, _FAR = 2.0, 5.0

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GoodPart:
    """A picture of a part that somebody takes for good.

    Attributes:
        name: what it is called in reports.
        path: the picture's file.
    """

    name: str
    path: Path


def adapt(
    bundle: Bundle,
    parts: Sequence[GoodPart],
    out: Path,
    report: Reporter = silent,
    reference: Sequence[GoodPart] = (),
) -> Bundle:
    """Writes a bundle that is adapted to good parts as they look now.

    Args:
        bundle: the bundle to adapt; it is not changed.
        parts: pictures of good parts, 9 or more, better 20 or more.
        out: the new bundle's folder.
        report: told how far it is.
        reference: good parts in the light of calibration, for a bundle that does not know that light.

    Raises:
        DataError: there are too few parts, too many of them look defective, or a picture cannot be read.
        BundleError: `out` cannot be written.
    """
    _check_count(len(parts))
    if out.resolve() == bundle.path.resolve():
        raise DataError(f"{out} is the bundle to adapt; give another --out, so that you can go back")
    with new_bundle(out) as folder:
        appearance = bundle.manifest.appearance
        if reference:
            appearance = measure_appearance(read_parts(bundle, [part.path for part in reference]))
        images = read_parts(bundle, [part.path for part in parts])
        measured = look_at(bundle, appearance, images, report)
        bad = [part.name for part, score in zip(parts, measured.scores, strict=True) if not np.isfinite(score)]
        if bad:
            raise DataError(f"the score of {bad[0]} is not a number; look at this picture, and leave it out")
        odd = stand_out(measured.scores)
        if odd.sum() > MOST_LEFT_OUT * len(parts):
            raise DataError(
                f"{int(odd.sum())} of {len(parts)} pictures look defective, such as "
                f"{parts[int(np.argmax(measured.scores))].name}; give good parts only, or calibrate anew if parts "
                "have changed that much"
            )
        _check_count(int((~odd).sum()))
        left_out = tuple(part.name for part, is_odd in zip(parts, odd, strict=True) if is_odd)
        kept = measured.only(~odd)
        for name in bundle.manifest.files:
            shutil.copyfile(bundle.file(name), folder / name)
        good = [image for image, is_odd in zip(images, odd, strict=True) if not is_odd]
        looks = write_looks(folder, good, visible_of(bundle), bundle.manifest.looks)
        changes = _changes(bundle, appearance, kept, left_out) | {"looks": looks.model_dump()}
        write_manifest(folder, bundle.manifest.model_dump() | changes)
    return open_bundle(out)


def find_good_parts(folder: Path) -> list[GoodPart]:
    """Lists pictures of good parts: those directly in a folder, or all good ones of a data set in any layout.

    Raises:
        DataError: there is neither.
    """
    pictures = list_images(folder)
    if pictures:
        return [GoodPart(path.name, path) for path in pictures]
    dataset = find_dataset(folder)
    return [GoodPart(one.part, one.path) for one in (*dataset.train, *dataset.test) if not one.defective]


def _check_count(count: int) -> None:
    if count < LEAST_PARTS:
        raise DataError(f"there are {count} good parts to adapt to; give {LEAST_PARTS} at the least, better 30")


def _changes(
    bundle: Bundle, appearance: Appearance | None, measured: Today, left_out: tuple[str, ...]
) -> dict[str, Any]:
    """Returns what becomes of the manifest."""
    old = bundle.manifest
    moved = estimate(measured.scores, old.statistics.samples)
    new_scores = (measured.scores - moved.kept.mean) / moved.kept.std
    honest = np.sort(each_by_the_others(measured.scores, old.statistics.samples))
    # Ignored cells say nothing about good parts, and would narrow their spread.
    seen = seen_cells(measured.heat)
    if not seen.any():
        raise DataError("the pictures all show the same; see whether the camera hangs, and give different parts")
    cells = measured.heat[:, seen]
    heat = _heat_units(cells, old.statistics.samples)
    rejected = float(np.mean(measured.before > old.threshold.value))
    warnings = _warnings(len(measured.scores), moved.found)
    threshold = _threshold(old.threshold, honest, warnings)
    before = old.adapted
    adapted = Adaptation(
        score=moved.kept if before is None else moved.kept.after(before.score),
        heatmap=heat if before is None else heat.after(before.heatmap),
        gains=measured.gains,
        sources=(*(() if before is None else before.sources), bundle.sha256),
        adapted_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        samples=len(measured.scores),
        left_out=left_out,
        found=moved.found,
        kept=moved.kept,
        rejected_before=rejected,
        old_scores=old.statistics.scores,
        new_scores=tuple(np.sort(measured.before).tolist()),
        warnings=warnings,
    )
    statistics = moved.kept.after(Units(mean=old.statistics.mean, std=old.statistics.std))
    return {
        "threshold": threshold.model_dump(),
        "heatmap": _heat_scale(old.heatmap, (cells - heat.mean) / heat.std).model_dump(),
        "statistics": {"samples": len(honest), **statistics.model_dump(), "scores": tuple(honest.tolist())},
        "bands": _bands(old, measured, moved.kept.std, new_scores),
        "appearance": None if appearance is None else appearance.model_dump(),
        "adapted": adapted.model_dump(),
        "evaluated": None,
    }


def _threshold(old: Threshold, scores: Values, warnings: tuple[str, ...]) -> Threshold:
    """Keeps the threshold's distance from good parts in sigma, whatever its rule, and says anew what it promises.

    So few parts say where good parts lie and how far they spread, but not how their tail falls.
    """
    count = int((scores > old.value).sum())
    low, high = rejected_interval(count, len(scores))
    expected = min(max(expected_share(count, len(scores)), low), high)
    kept = {name: value for name, value in old.model_dump().items() if name in {"value", "rule", "parameter"}}
    return Threshold(
        **kept,
        samples=len(scores),
        tuned_on_defects=old.tuned_on_defects,
        false_alarms_per_1000=round(1000 * expected, 2),
        interval_per_1000=(round(1000 * low, 2), round(1000 * high, 2)),
        warning="; ".join(warnings) or old.warning,
    )


def _warnings(count: int, found: Units) -> tuple[str, ...]:
    said = []
    if count < ENOUGH_PARTS:
        said.append(f"adapted to {count} good parts only, so the threshold is rough; give 30 or more")
    if found.std > _WIDER or found.mean > _FAR:
        said.append(
            f"good parts look strange to the network: they lie {found.mean:.1f} sigma away and spread {found.std:.1f} "
            "times as far, so defects may be missed; put camera and light right, or calibrate anew"
        )
    return tuple(said)


def _heat_units(heat: npt.NDArray[np.float32], known: int) -> Units:
    """Estimates where heatmaps' cells of good parts lie now, from each part's mean and spread."""
    cells = heat.astype(np.float64)
    moved = estimate(cells.mean(1), known)
    count = len(cells) - 1
    spread = float(np.sqrt((PRIOR_PARTS + count * cells.var()) / (PRIOR_PARTS + count)))
    return Units(mean=moved.kept.mean, std=spread)


def _heat_scale(old: Heatmap, cells: npt.NDArray[np.float32]) -> Heatmap:
    """Measures anew above which a cell belongs to a region, shrunk towards the old value as spreads are."""
    weight = len(cells) / (len(cells) + PRIOR_PARTS)
    threshold = weight * region_threshold(cells) + (1 - weight) * old.threshold
    return Heatmap(grid=old.grid, full_scale=3 * threshold, threshold=threshold)


def _bands(old: Manifest, measured: Today, std: float, exact: Values) -> dict[str, Any]:
    """Tells the bands in the new units, and widens one where parts of today lie outside it. None gets narrower."""
    bands = {}
    for precision, band in old.bands.items():
        moved = np.abs(measured.lower.get(precision, measured.scores + band.offset) - band.offset - measured.scores)
        width = max(band.width, float(moved.max())) / std
        bands[precision] = band.model_dump() | {
            "offset": band.offset / std,
            "width": width,
            "std": band.std / std,
            "largest": max(band.largest, float(moved.max())) / std,
            "share": float(np.mean(np.abs(exact - old.threshold.value) <= width)),
        }
    return bands
