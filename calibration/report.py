"""The report: one self-contained HTML file with the evidence for and against a bundle."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from calibration.costs import cost_curve
from calibration.dataset import Sample, read_mask
from calibration.evaluate import Evaluation
from calibration.page import render
from calibration.plot import BAD, GOOD, INK, LINE, svg
from engines.bundle import Bundle
from engines.files import save
from engines.image import Image, read_image
from engines.overlay import draw_overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TILE_PX = 260
_EXTREMES = 8
_MOST_MISTAKES = 60
_TRUTH_BGR = (80, 220, 60)


@dataclass(frozen=True)
class Tile:
    """A part in the page's gallery: its picture, overlay and verdict."""

    part: str
    kind: str
    score: float
    rejected: bool
    defective: bool
    picture: str
    overlay: str


def write_report(path: Path, bundle: Bundle, evaluation: Evaluation) -> None:
    """Writes the report.

    Args:
        path: the HTML file; it appears whole or not at all.
        bundle: the bundle.
        evaluation: its evaluation on labelled parts.

    Raises:
        DataError: the file cannot be written.
    """
    page = render(
        "calibration",
        "report.html",
        3,
        bundle=bundle,
        manifest=bundle.manifest,
        metrics=evaluation.metrics,
        engine=evaluation.engine,
        plots=_plots(bundle, evaluation),
        galleries=_galleries(bundle, evaluation),
    )
    save(path, page)


def _plots(bundle: Bundle, evaluation: Evaluation) -> dict[str, str]:
    defective = evaluation.defective
    plots = {"losses": svg(lambda axes: _draw_losses(axes, bundle), 4.2)}
    plots["histogram"] = svg(lambda axes: _draw_histogram(axes, evaluation), 12.0)
    if defective.any() and not defective.all():
        plots["roc"] = svg(lambda axes: _draw_roc(axes, evaluation), 4.2)
        plots["precision_recall"] = svg(lambda axes: _draw_precision_recall(axes, evaluation), 4.2)
        plots["costs"] = svg(lambda axes: _draw_costs(axes, evaluation), 12.0)
    return plots


def _draw_losses(axes: Axes, bundle: Bundle) -> None:
    training = bundle.manifest.training
    epochs = np.arange(1, training.epochs + 1)
    axes.plot(epochs, training.train_loss, color=LINE, label="training")
    axes.plot(epochs, training.validation_loss, color=BAD, label="validation", linestyle="--")
    axes.set(xlabel="epoch", ylabel="mean squared error", yscale="log")
    axes.legend(frameon=False)


def _draw_histogram(axes: Axes, evaluation: Evaluation) -> None:
    scores, defective = evaluation.scores, evaluation.defective
    high = max(float(np.quantile(scores, 0.995)), evaluation.threshold + 1)
    bins = np.linspace(float(scores.min()) - 0.2, high, 50).tolist()
    shown = np.minimum(scores, high)
    axes.hist(shown[~defective], bins, color=GOOD, alpha=0.75, label="good parts")
    axes.hist(shown[defective], bins, color=BAD, alpha=0.6, label="defective parts")
    axes.axvline(evaluation.threshold, color=INK, linestyle="--", label=f"threshold {evaluation.threshold:.2f}")
    axes.set(xlabel="score (sigma of good parts)", ylabel="parts")
    axes.legend(frameon=False)


def _draw_roc(axes: Axes, evaluation: Evaluation) -> None:
    false, true, _ = roc_curve(evaluation.defective, evaluation.scores)
    axes.plot(false, true, color=LINE, drawstyle="steps-post")
    axes.plot([0, 1], [0, 1], color="#c4cad1", linestyle=":")
    metrics = evaluation.metrics
    axes.plot(metrics["false_alarm_rate"], metrics["recall"], "o", color=BAD, label="at the threshold")
    axes.set(xlabel="false alarms", ylabel="defects found", title=f"ROC, area {metrics['auroc']:.3f}")
    axes.legend(frameon=False, loc="lower right")


def _draw_precision_recall(axes: Axes, evaluation: Evaluation) -> None:
    precision, recall, _ = precision_recall_curve(evaluation.defective, evaluation.scores)
    axes.plot(recall, precision, color=LINE, drawstyle="steps-post")
    metrics = evaluation.metrics
    if metrics["precision"] is not None:
        axes.plot(metrics["recall"], metrics["precision"], "o", color=BAD, label="at the threshold")
        axes.legend(frameon=False, loc="lower left")
    axes.set(
        xlabel="recall",
        ylabel="precision",
        ylim=(0, 1.03),
        title=f"average precision {metrics['average_precision']:.3f}",
    )


def _draw_costs(axes: Axes, evaluation: Evaluation) -> None:
    curve = cost_curve(evaluation.scores, evaluation.defective)
    axes.plot(curve.thresholds, curve.misses, color=BAD, drawstyle="steps-mid", label="defects missed")
    axes.plot(curve.thresholds, curve.false_alarms, color=GOOD, drawstyle="steps-mid", label="false alarms")
    axes.axvline(evaluation.threshold, color=INK, linestyle="--", label=f"threshold {evaluation.threshold:.2f}")
    best, shown = evaluation.metrics["cheapest"], [evaluation.threshold]
    if best is not None:
        label = f"least cost, a miss {best['miss_costs']:g} false alarms: {best['threshold']:.2f}"
        axes.axvline(best["threshold"], color=LINE, linestyle=":", label=label)
        shown.append(best["threshold"])
    # Far above the good parts nothing changes but the misses.
    high = max(float(evaluation.scores[~evaluation.defective].max()), *shown) + 3
    axes.set(xlabel="threshold (sigma of good parts)", ylabel="parts", xlim=(float(curve.thresholds[0]), high))
    axes.legend(frameon=False)


def _galleries(bundle: Bundle, evaluation: Evaluation) -> list[dict[str, Any]]:
    order = np.argsort(-evaluation.scores)
    defective, rejected = evaluation.defective, evaluation.rejected
    # Mistakes first, worst first: the clearest misses, then the clearest false alarms.
    missed = [index for index in order[::-1] if defective[index] and not rejected[index]]
    alarms = [index for index in order if not defective[index] and rejected[index]]
    rows = [
        ("Defects that were missed", missed),
        ("Good parts that were rejected", alarms),
        ("The most anomalous parts", list(order[:_EXTREMES])),
        ("The least anomalous parts", list(order[::-1][:_EXTREMES])),
    ]
    return [
        {
            "title": title,
            "count": len(indices),
            "left_out": max(0, len(indices) - _MOST_MISTAKES),
            "tiles": [_tile(bundle, evaluation, int(index)) for index in indices[:_MOST_MISTAKES]],
        }
        for title, indices in rows
    ]


def _tile(bundle: Bundle, evaluation: Evaluation, index: int) -> Tile:
    sample = evaluation.samples[index]
    scale = bundle.manifest.heatmap
    picture = _shrink(read_image(sample.path))
    overlay = draw_overlay(picture, evaluation.heatmaps[index], scale.threshold, scale.full_scale)
    return Tile(
        part=sample.part,
        kind=sample.kind,
        score=float(evaluation.scores[index]),
        rejected=bool(evaluation.rejected[index]),
        defective=sample.defective,
        picture=_jpeg(_outline_truth(picture, sample)),
        overlay=_jpeg(overlay),
    )


def _shrink(image: Image) -> Image:
    factor = _TILE_PX / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _outline_truth(picture: Image, sample: Sample) -> Image:
    if sample.mask is None:
        return picture
    mask = read_mask(sample, picture.shape[:2]).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), outlines, -1, _TRUTH_BGR, 1, cv2.LINE_AA), np.uint8)


def _jpeg(image: Image) -> str:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
