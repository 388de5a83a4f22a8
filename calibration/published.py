"""Published figures for comparison: image AUROC in percent on MVTec AD."""

from __future__ import annotations

PUBLISHED: dict[str, dict[str, float]] = {
    "PatchCore WR50": {"screw": 98.1, "toothbrush": 100.0, "leather": 100.0, "bottle": 100.0, "mean": 99.1},
    "EfficientAD-S": {"screw": 97.9, "toothbrush": 100.0, "leather": 100.0, "bottle": 99.9, "mean": 99.0},
    "Reverse Distillation WR50": {"screw": 98.5, "toothbrush": 95.3, "leather": 100.0, "bottle": 100.0, "mean": 98.5},
    "PaDiM WR50": {"screw": 84.5, "toothbrush": 94.2, "leather": 100.0, "bottle": 99.9, "mean": 95.0},
    "DFM R18": {"screw": 89.0, "toothbrush": 96.9, "leather": 99.3, "bottle": 100.0, "mean": 93.6},
}
