"""When calibration makes an 8-bit model, and which parts it is made and judged with."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from calibration.backbone import LoadedBackbone
from calibration.dataset import Sample, read_frames
from calibration.export import NetworkGraph
from calibration.fit import Fitted
from calibration.head import sample_of
from calibration.progress import Reporter
from calibration.quantise import Labelled, import_nncf, quantise
from calibration.threshold import choose_threshold
from engines.errors import TaktlineError
from engines.manifest import Int8

log = logging.getLogger(__name__)

# A fifth of them is held out, and 20 parts hardly show how far 8 bits move a score.
LEAST_PARTS = 100
_MOST_LABELLED = 500
_LEAST_LABELLED = 30


def worth_8_bits(backbone: LoadedBackbone, parts: int) -> bool:
    """Tells whether calibration makes an 8-bit model unasked: it can be made here, and its scores can be judged.

    Args:
        backbone: the backbone.
        parts: good parts to learn from, held-out ones included.
    """
    if not backbone.pretrained or parts < LEAST_PARTS:
        return False
    try:
        import_nncf()
    except TaktlineError:
        return False
    return True


def add_8_bits(
    folder: Path,
    train: tuple[Sample, ...],
    labelled: Labelled | None,
    fitted: Fitted,
    graph: NetworkGraph,
    report: Reporter,
) -> Int8:
    """Writes an 8-bit model into a bundle's folder, or says why not.

    Args:
        folder: the bundle's folder.
        train: the good parts that the network was fitted to, held-out ones included.
        labelled: good and defective frames, or None.
        fitted: the network.
        graph: the network's.
        report: told how far it is.
    """
    frames = list(read_frames(train, fitted.network.config.size))
    verdict = quantise(
        folder,
        fitted.network,
        graph,
        [frames[index] for index in sample_of(np.setdiff1d(np.arange(len(frames)), fitted.held_out))],
        [frames[index] for index in fitted.held_out],
        fitted.own,
        choose_threshold("sigma", None, fitted.scores.tolist()).value,
        labelled,
        report,
    )
    if not verdict.accepted:
        log.warning("the int8 model was refused: %s; the bundle goes without", verdict.reason)
    return verdict


def read_labelled(test: tuple[Sample, ...], size: tuple[int, int], seed: int) -> Labelled | None:
    """Reads labelled test pictures: so many at the most that they fit into memory, and none where they are so few that
    one part more or less in its place moves AUROC by more than it may fall."""
    picks = np.sort(np.random.default_rng(seed).permutation(len(test))[:_MOST_LABELLED])
    samples = [test[index] for index in picks]
    defective = np.array([sample.defective for sample in samples], np.bool_)
    if min(defective.sum(), (~defective).sum()) < _LEAST_LABELLED:
        return None
    return list(read_frames(samples, size)), defective
