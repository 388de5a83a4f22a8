"""Checks a data set picture by picture, and reports how it was understood and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibration.dataset import MIN_NORMALS, Dataset, Sample
from calibration.more_parts import SOME, more_parts
from calibration.progress import Reporter, silent
from engines.errors import DataError
from engines.image import IMAGE_SUFFIXES, decode_image, read_image


@dataclass(frozen=True)
class Survey:
    """What a data set holds.

    Attributes:
        category: name of the part.
        layout: name of its layout.
        train: number of good parts to train on.
        test: number of test parts, by kind.
        masks: number of defective test parts with a mask.
        sizes: number of pictures by size, `WIDTHxHEIGHT`.
        problems: one sentence per problem.
    """

    category: str
    layout: str
    train: int
    test: dict[str, int]
    masks: int
    sizes: dict[str, int]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as plain values."""
        return asdict(self)


def survey_dataset(dataset: Dataset, report: Reporter = silent) -> Survey:
    """Reads every picture and mask of a data set and lists what is wrong with them."""
    problems: list[str] = []
    sizes: Counter[str] = Counter()
    by_content: dict[str, Sample] = {}
    samples = [*dataset.train, *dataset.test]
    in_train = set(dataset.train)
    for index, sample in enumerate(samples):
        report("reading", index + 1, len(samples))
        try:
            data = sample.path.read_bytes()
            height, width = decode_image(data).shape[:2]
        except (DataError, OSError) as error:
            problems.append(f"{sample.path} {error}")
            continue
        sizes[f"{width}x{height}"] += 1
        first = by_content.setdefault(hashlib.sha256(data).hexdigest(), sample)
        if first is not sample:
            where = "in train and test" if (first in in_train) != (sample in in_train) else "twice"
            problems.append(f"the same picture is {where}: {first.path} and {sample.path}")
        problems.extend(_mask_problems(sample, (height, width)))
    problems.extend(_count_problems(dataset))
    problems.extend(_strangers(dataset))
    return Survey(
        category=dataset.category,
        layout=dataset.layout,
        train=len(dataset.train),
        test=dict(sorted(Counter(sample.kind for sample in dataset.test).items())),
        masks=sum(sample.mask is not None for sample in dataset.test),
        sizes=dict(sizes.most_common()),
        problems=tuple(problems),
    )


def shared_pictures(dataset: Dataset) -> list[tuple[Path, Path]]:
    """Finds pictures that are both in train and in test, by the hash of their content."""
    seen = {_content(sample.path): sample.path for sample in dataset.train}
    pairs = ((seen.get(_content(sample.path)), sample.path) for sample in dataset.test)
    return [(first, second) for first, second in pairs if first is not None]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _mask_problems(sample: Sample, shape: tuple[int, int]) -> list[str]:
    if sample.mask is None:
        return []
    try:
        mask = read_image(sample.mask)
    except DataError as error:
        return [str(error)]
    problems = []
    if mask.shape[:2] != shape:
        problems.append(
            f"the mask {sample.mask} is {mask.shape[1]}x{mask.shape[0]} and its picture {shape[1]}x{shape[0]}; it is "
            "resized to fit"
        )
    if not mask.any():
        problems.append(f"the mask {sample.mask} is all zero; the part counts as defective, but unmarked")
    return problems


def _count_problems(dataset: Dataset) -> list[str]:
    problems = []
    count = len(dataset.train)
    if count < MIN_NORMALS:
        problems.append(f"{count} good parts to train on are too few; calibration needs at least {MIN_NORMALS}")
    elif count < SOME:
        problems.append(str(more_parts(count)))
    kinds = Counter(sample.kind for sample in dataset.test)
    problems += [f"the kind '{kind}' has only one test picture" for kind, number in kinds.items() if number == 1]
    if dataset.test and "good" not in kinds:
        problems.append("the test pictures show no good part; false alarms cannot be measured")
    if dataset.test and len(kinds) == (1 if "good" in kinds else 0):
        problems.append("the test pictures show no defective part; recall cannot be measured")
    unmarked = sum(sample.defective and sample.mask is None for sample in dataset.test)
    marked = sum(sample.mask is not None for sample in dataset.test)
    if marked and unmarked:
        problems.append(f"{unmarked} defective test parts have no mask; pixel figures leave them out")
    return problems


def _strangers(dataset: Dataset) -> list[str]:
    folders = {sample.path.parent for sample in (*dataset.train, *dataset.test)}
    strangers = [
        path
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not strangers:
        return []
    more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    return [f"{strangers[0]}{more} beside the pictures is not a picture and is ignored"]
