"""`taktline journal label`."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engines.errors import ConfigError, DataError
from taktline.cli.console import show, show_json
from taktline.cli.journal.options import JournalArgument
from taktline.cli.options import JsonFlag

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.journal.labels import VerdictKey


def label(
    journal: JournalArgument,
    camera: Annotated[str, typer.Argument(help="The camera.")],
    frame: Annotated[str, typer.Argument(help="Sequence of its frame; with --part, the id of the part.")],
    label: Annotated[
        str, typer.Argument(help="'false alarm', 'missed defect' or 'confirmed'; 'none' withdraws a label.")
    ],
    note: Annotated[str, typer.Option(help="Why, in your own words.")] = "",
    by: Annotated[str | None, typer.Option(help="Who says so. Default: the user's name.")] = None,
    part: Annotated[bool, typer.Option("--part", help="Name the frame by its part: the newest one of it.")] = False,
    epoch: Annotated[str | None, typer.Option(help="Epoch of the sequence. Default: the newest that has it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Label a verdict as a false alarm, a missed defect or confirmed. The line may be running.

    The newest label of a part counts; the earlier ones are kept.

    Example: taktline journal label runs/press4.journal top 4711 false-alarm --note "dust on the lens"
    """
    from pipeline.journal.labels import LabelBook, check_label

    said = None if label == "none" else check_label(label)
    if part and epoch is not None:
        raise ConfigError("--epoch belongs to a sequence; leave it out with --part")
    key = _part(journal, camera, frame) if part else _sequence(journal, camera, frame, epoch)
    with LabelBook(journal) as book:
        stored = book.set(key, said, by or getpass.getuser(), note)
    if as_json:
        show_json(dict(zip(key._fields, key, strict=True)) | {"label": None if stored is None else stored.to_json()})
    else:
        what = "no label any more" if stored is None else f"{stored.label}, by {stored.by}"
        show(Text(f"camera {key.camera}, sequence {key.sequence}: {what}"))


def _sequence(journal: Path, camera: str, frame: str, epoch: str | None) -> VerdictKey:
    from pipeline.journal.labels import VerdictKey
    from pipeline.journal.reader import JournalReader

    if not (frame.isascii() and frame.isdecimal() and len(frame) < 19):
        raise ConfigError(f"'{frame}' is not a sequence; give a number, or --part for the id of a part")
    sequence = int(frame)
    if epoch is not None:
        return VerdictKey(camera, epoch, sequence)
    with JournalReader(journal) as reader:
        series = [one for one in reader.series([camera]) if one.first <= sequence <= one.last]
    if not series:
        raise DataError(f"camera {camera}, sequence {sequence} is not in the journal {journal}")
    return VerdictKey(camera, series[-1].epoch, sequence)


def _part(journal: Path, camera: str, part: str) -> VerdictKey:
    from pipeline.journal.history import History
    from pipeline.journal.labels import VerdictKey
    from pipeline.journal.selection import Selection

    with History(journal) as history:
        page = history.page(Selection((camera,), part=part), size=1)
    if not page.found:
        raise DataError(f"camera {camera} has no part '{part}' in the journal {journal}")
    verdict = page.found[0].verdict
    return VerdictKey(verdict.camera, verdict.epoch, verdict.sequence)
