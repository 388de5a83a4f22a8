"""Calibrates and evaluates every category under a folder, for one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.calibrate import CalibrationSettings, calibrate
from calibration.dataset import find_dataset
from calibration.evaluate import Evaluation, evaluate
from calibration.features import at_once
from calibration.progress import Reporter
from engines.bundle import Bundle
from engines.errors import DataError
from engines.registry import open_engine

FIGURES = ("auroc", "average_precision", "f1", "best_f1", "recall", "false_alarm_rate", "pixel_auroc", "aupro")


@dataclass(frozen=True)
class CategoryResult:
    """A category, its bundle and its evaluation."""

    category: str
    bundle: Bundle
    evaluation: Evaluation


def list_categories(root: Path) -> list[Path]:
    """Lists the folders under `root` that are data sets.

    Raises:
        DataError: there is none.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the folder that holds the categories")
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            find_dataset(folder)
        except DataError:
            continue
        found.append(folder)
    if not found:
        raise DataError(f"no folder under {root} is a data set; give the folder that holds the categories")
    return found


def run_suite(
    root: Path, out: Path, settings: CalibrationSettings, engine: str, report: Reporter
) -> Iterator[CategoryResult]:
    """Calibrates every category under `root` into `out` and evaluates it, one by one."""
    for folder in list_categories(root):

        def named(task: str, done: int, total: int, note: str = "", category: str = folder.name) -> None:
            report(f"{category}: {task}", done, total, note)

        bundle = calibrate(folder, out / folder.name, settings, named)
        dataset = find_dataset(folder, settings.split, settings.training.seed)
        with open_engine(bundle, engine, max_batch=at_once(bundle.size), measure=False) as opened:
            yield CategoryResult(folder.name, bundle, evaluate(bundle, opened, dataset.test, named))


def suite_table(results: list[CategoryResult]) -> list[dict[str, Any]]:
    """Returns one row of figures per category, and their means in the last row."""
    rows: list[dict[str, Any]] = [
        {"category": result.category} | {name: result.evaluation.metrics[name] for name in FIGURES}
        for result in results
    ]
    mean: dict[str, Any] = {"category": "mean"}
    for name in FIGURES:
        values = [row[name] for row in rows if row[name] is not None]
        mean[name] = sum(values) / len(values) if values else None
    return [*rows, mean]
