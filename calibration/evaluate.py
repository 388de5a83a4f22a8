"""Evaluates a bundle on labelled parts."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve

from calibration.costs import cheapest
from calibration.dataset import Sample, read_frames, read_mask
from calibration.metrics import Confusion, auroc
from calibration.pixels import aupro, pixel_auroc, to_pixels
from calibration.progress import Reporter, silent
from engines.bundle import Bundle, update_manifest
from engines.engine import Engine
from engines.errors import DataError

_BOOTSTRAPS = 1000
_BATCH = 8
_MOST_PIXELS = 64_000_000


@dataclass(frozen=True)
class Evaluation:
    """Scores of labelled parts, and figures computed from them.

    Attributes:
        samples: the parts.
        scores: float64 `[N]`, in sigma.
        heatmaps: float32 `[N, h, w]`, in sigma.
        threshold: in sigma.
        engine: name and precision of the engine.
        metrics: the figures; None if a kind of part or the masks are missing.
    """

    samples: tuple[Sample, ...]
    scores: npt.NDArray[np.float64]
    heatmaps: npt.NDArray[np.float32]
    threshold: float
    engine: str
    metrics: dict[str, Any]

    @property
    def defective(self) -> npt.NDArray[np.bool_]:
        """Whether each part is defective, bool `[N]`."""
        return np.array([sample.defective for sample in self.samples])

    @property
    def rejected(self) -> npt.NDArray[np.bool_]:
        """Whether each part is above the threshold, bool `[N]`."""
        return np.asarray(self.scores > self.threshold)


def evaluate(
    bundle: Bundle, engine: Engine, samples: Sequence[Sample], report: Reporter = silent, seed: int = 0,
    miss_costs: float | None = None,
) -> Evaluation:  # fmt: skip
    """Scores parts with an engine and compares the verdicts with their labels.

    Args:
        bundle: the bundle, for its threshold.
        engine: an engine opened on it.
        samples: labelled parts.
        report: called with the progress.
        seed: seed of the bootstrap.
        miss_costs: how many false alarms one missed defect costs, for the threshold where mistakes cost least; None
            for none.

    Raises:
        DataError: there are no parts, or a picture cannot be read.
    """
    if not samples:
        raise DataError("there are no parts to evaluate; give a data set with test pictures")
    batch = min(_BATCH, engine.max_batch)
    scores, heatmaps = [], []
    for start in range(0, len(samples), batch):
        chunk = list(samples[start : start + batch])
        found = engine.infer(np.stack(list(read_frames(chunk, bundle.size))))
        scores.append(found.score.astype(np.float64))
        heatmaps.append(found.heatmap)
        report("evaluating", start + len(chunk), len(samples))
    threshold = bundle.manifest.threshold.value
    score, heat = np.concatenate(scores), np.concatenate(heatmaps)
    metrics = image_metrics(score, samples, threshold, seed, miss_costs) | _pixel_metrics(heat, samples, bundle.size)
    return Evaluation(tuple(samples), score, heat, threshold, f"{engine.name} {engine.precision}", metrics)


def keep_evaluation(bundle: Bundle, evaluation: Evaluation, data: str) -> Bundle:
    """Writes an evaluation's figures into the bundle's manifest, and opens the bundle again.

    Args:
        bundle: the bundle that was evaluated.
        evaluation: on labelled parts.
        data: name of the data set.

    Raises:
        BundleError: the bundle cannot be written.
    """
    metrics = evaluation.metrics
    confusion = metrics["confusion"]
    same = ("threshold", "good", "defective", "accuracy", "precision", "recall", "f1", "auroc", "auroc_interval",
            "pixel_auroc")  # fmt: skip
    kept = {
        "data": data,
        "evaluated_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "engine": evaluation.engine,
        "false_alarms": confusion["fp"],
        "misses": confusion["fn"],
        "defects": metrics["recall_by_defect"],
    }
    return update_manifest(bundle, {"evaluated": kept | {name: metrics[name] for name in same}})


def image_metrics(
    scores: npt.NDArray[np.float64],
    samples: Sequence[Sample],
    threshold: float,
    seed: int = 0,
    miss_costs: float | None = None,
) -> dict[str, Any]:
    """Returns the figures of whole parts, both at the threshold and independent of it; see `evaluate`."""
    defective = np.array([sample.defective for sample in samples])
    rejected = scores > threshold
    confusion = Confusion.of(defective, rejected)
    metrics: dict[str, Any] = {
        "parts": len(samples),
        "good": int((~defective).sum()),
        "defective": int(defective.sum()),
        "threshold": threshold,
        "confusion": confusion.to_json(),
        "accuracy": confusion.accuracy,
        "precision": confusion.precision,
        "recall": confusion.recall,
        "f1": confusion.f1,
        "false_alarm_rate": confusion.false_alarm_rate,
        "recall_by_defect": _recall_by_defect(samples, rejected),
        "auroc": auroc(scores, defective),
        "auroc_interval": None,
        "average_precision": None,
        "best_f1": None,
        "best_f1_threshold": None,
        "cheapest": None,
    }
    if defective.any() and not defective.all():
        precision, recall, thresholds = precision_recall_curve(defective, scores)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(np.argmax(f1[:-1]))
        metrics |= {
            "auroc_interval": _bootstrap(scores, defective, seed),
            "average_precision": float(average_precision_score(defective, scores)),
            "best_f1": float(f1[best]),
            "best_f1_threshold": float(thresholds[best]),
            "cheapest": cheapest(scores, defective, miss_costs).to_json() if miss_costs is not None else None,
        }
    return metrics


def _recall_by_defect(samples: Sequence[Sample], rejected: npt.NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for sample, found in zip(samples, rejected, strict=True):
        if sample.defective:
            row = table.setdefault(sample.kind, {"found": 0, "parts": 0})
            row["found"] += int(found)
            row["parts"] += 1
    return table


def _bootstrap(scores: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_], seed: int) -> tuple[float, float]:
    """Returns the 95 % interval of the AUROC, resampling good and defective parts separately (Efron 1979)."""
    rng = np.random.default_rng(seed)
    good, bad = scores[~defective], scores[defective]
    labels = np.repeat([False, True], [len(good), len(bad)])
    areas = [
        auroc(np.concatenate([rng.choice(good, len(good)), rng.choice(bad, len(bad))]), labels)
        for _ in range(_BOOTSTRAPS)
    ]
    low, high = np.quantile(np.array(areas, np.float64), [0.025, 0.975])
    return float(low), float(high)


def _pixel_metrics(
    heatmaps: npt.NDArray[np.float32], samples: Sequence[Sample], size: tuple[int, int]
) -> dict[str, float | None]:
    marked = [index for index, sample in enumerate(samples) if not sample.defective or sample.mask is not None]
    if not any(samples[index].mask for index in marked):
        return {"pixel_auroc": None, "aupro": None}
    # Large frames would fill the memory; their pixels are judged on a coarser grid.
    shrink = max(1.0, math.sqrt(len(marked) * size[0] * size[1] / _MOST_PIXELS))
    grid = round(size[0] / shrink), round(size[1] / shrink)
    masks = np.stack([read_mask(samples[index], grid) for index in marked])
    fine = np.stack([to_pixels(heatmaps[index], grid) for index in marked])
    return {"pixel_auroc": pixel_auroc(fine, masks), "aupro": aupro(fine, masks)}
