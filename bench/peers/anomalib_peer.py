"""Measures anomalib's inferencers. Runs as a script in anomalib's own environment and imports nothing from Taktline.

It reads a JSON object from standard input: `files` (pictures), `work` (a folder for models), `seconds` (per
measurement), `rounds` and `out`. It writes one JSON object to the file `out`: `version`, and `runs`, a list of `name`,
`source` (`array` or `file`) and `images_per_s`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TRAINED_ON = 16


def main() -> None:
    """Measures both models with both inferencers."""
    request = json.load(sys.stdin)
    import anomalib

    files = [Path(name) for name in request["files"]]
    arrays = [_read(path) for path in files]
    work = Path(request["work"])
    runs = []
    for name, model in (("PaDiM R18", _padim(files, work)), ("EfficientAd-S", _efficient_ad())):
        for kind, inferencer in _inferencers(model, work / name.replace(" ", "-")):
            for source, given in (("array", arrays), ("file", files)):
                rate = _rate(inferencer.predict, given, request["seconds"], request["rounds"])
                runs.append({"name": f"anomalib {name}, {kind}", "source": source, "images_per_s": rate})
    Path(request["out"]).write_text(json.dumps({"version": anomalib.__version__, "runs": runs}), encoding="utf-8")


def _read(path: Path) -> Any:
    import cv2

    picture = cv2.imread(str(path))
    assert picture is not None
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _padim(files: list[Path], work: Path) -> Any:
    """Fits PaDiM briefly: its features do not affect its speed."""
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim

    good = work / "padim" / "good"
    good.mkdir(parents=True)
    for number, path in enumerate(files[:_TRAINED_ON]):
        shutil.copy(path, good / f"{number}{path.suffix}")
    data = Folder(
        name="pictures",
        root=work / "padim",
        normal_dir="good",
        train_batch_size=4,
        eval_batch_size=4,
        num_workers=0,
        test_split_mode="synthetic",
        val_split_mode="same_as_test",
    )
    model = Padim(backbone="resnet18", pre_trained=False)
    Engine(default_root_dir=work / "runs", accelerator="cpu", logger=False, max_epochs=1).fit(model, datamodule=data)
    return model


def _efficient_ad() -> Any:
    from anomalib.models import EfficientAd

    return EfficientAd()


def _inferencers(model: Any, folder: Path) -> list[tuple[str, Any]]:
    from anomalib.deploy import OpenVINOInferencer, TorchInferencer

    # Its torch models are pickles; these were written by itself a moment ago.
    os.environ["TRUST_REMOTE_CODE"] = "1"
    folder.mkdir(parents=True)
    # Without a fixed size, it takes pictures of any size and resizes them itself.
    converted = Path(model.to_openvino(folder))
    saved = Path(model.to_torch(folder))
    return [
        ("OpenVINO", OpenVINOInferencer(path=converted, device="CPU")),
        ("torch", TorchInferencer(path=saved, device="cpu")),
    ]


def _rate(predict: Callable[[Any], Any], pictures: list[Any], seconds: float, rounds: int) -> float:
    """Returns images per second: the median of some rounds."""
    for picture in pictures[:3]:
        predict(picture)
    rates = []
    for _ in range(rounds):
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds or done < 3:
            predict(pictures[done % len(pictures)])
            done += 1
        rates.append(done / (time.perf_counter() - started))
    return sorted(rates)[len(rates) // 2]


if __name__ == "__main__":
    main()
