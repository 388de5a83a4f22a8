"""Decides a bundle's threshold anew, without training and without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.batch import at_once
from calibration.dataset import Sample
from calibration.evaluate import evaluate
from calibration.regions import choose_regions
from calibration.threshold import check_parameter, choose_threshold
from engines.bundle import Bundle, update_manifest
from engines.engine import EXACT
from engines.registry import open_engine
from engines.threshold_rule import LABELLED_RULES, Rule


def decide_threshold(bundle: Bundle, rule: Rule, value: float | None, labelled: Sequence[Sample] = ()) -> Bundle:
    """Chooses a bundle's threshold anew, without training, and writes it into its manifest.

    Args:
        bundle: the bundle.
        rule: see `calibration.threshold.choose_threshold`.
        value: what the rule is given; None for its default.
        labelled: for `f1` and `cost`: labelled parts.

    Raises:
        TaktlineError: the rule or its value cannot be used.
    """
    check_parameter(rule, value)
    pairs = None
    if rule in LABELLED_RULES:
        with open_engine(bundle, precision=EXACT, max_batch=at_once(bundle.size), measure=False) as engine:
            evaluation = evaluate(bundle, engine, labelled)
        pairs = evaluation.scores, evaluation.defective
    known = bundle.manifest.statistics
    threshold = choose_threshold(rule, value, known.scores, pairs)
    # A bundle that was adapted does not know how high regions reach today; they keep their distance in sigma.
    regions = choose_regions(threshold, known.scores, known.regions) or bundle.manifest.regions
    # What was found at another threshold no longer holds.
    changes = {"threshold": threshold.model_dump(), "regions": [row.model_dump() for row in regions], "evaluated": None}
    return update_manifest(bundle, changes)
