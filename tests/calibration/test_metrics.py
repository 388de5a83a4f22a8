"""The figures of a classifier, held against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from calibration.metrics import Confusion, auroc


def test_auroc_counts_ties_as_one_half() -> None:
    defective = np.array([True, False, True, False])
    assert auroc(np.array([3.0, 1.0, 2.0, 2.0]), defective) == 3.5 / 4
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4, np.bool_)) is None


def test_auroc_equals_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores, defective = rng.integers(0, 30, 500).astype(np.float64), rng.random(500) < 0.3
    assert auroc(scores, defective) == pytest.approx(roc_auc_score(defective, scores))


def test_confusion_and_its_rates_equal_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    defective, rejected = rng.random(300) < 0.3, rng.random(300) < 0.4
    found = Confusion.of(defective, rejected)
    assert sum(found.to_json().values()) == 300
    assert found.accuracy == pytest.approx(accuracy_score(defective, rejected))
    assert found.precision == pytest.approx(precision_score(defective, rejected))
    assert found.recall == pytest.approx(recall_score(defective, rejected))
    assert found.f1 == pytest.approx(f1_score(defective, rejected))
    assert found.false_alarm_rate == pytest.approx(1 - recall_score(~defective, ~rejected))


def test_a_rate_of_nothing_is_none() -> None:
    nothing = Confusion.of(np.zeros(3, np.bool_), np.zeros(3, np.bool_))
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)
    assert (nothing.accuracy, nothing.false_alarm_rate) == (1.0, 0.0)
