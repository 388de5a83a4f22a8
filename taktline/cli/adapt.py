"""`taktline adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from taktline.cli.console import progress_bars, show, show_json, stderr
from taktline.cli.options import BundleArgument, JsonFlag, ReportFile, flatten
from taktline.cli.stored import MOST_UNSURE, FromJournal

if TYPE_CHECKING:
    from calibration.adapt import GoodPart
    from engines.manifest import Manifest

_MOST_PARTS = 200


@flatten
def adapt(
    bundle: BundleArgument,
    stored: FromJournal,
    out: Annotated[Path, typer.Option(help="Folder to write the adapted bundle to.")],
    goods: Annotated[
        Path | None, typer.Argument(help="Folder with pictures of good parts as they look now, or a data set.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Good parts in the light of calibration, for a bundle that does not know it.")
    ] = None,
    most: Annotated[int, typer.Option(min=9, max=1000, help="Take at most this many, evenly spread.")] = _MOST_PARTS,
    report: ReportFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Adapt a bundle to good parts as they look now: 30 pictures or more, no training, no PyTorch.

    Example: taktline adapt runs/bottle data/bottle/test/good --out runs/bottle-adapted
    """
    from calibration.adapt import adapt as make_bundle
    from calibration.adapt import find_good_parts
    from calibration.adapt_report import write_adapt_report
    from engines.bundle import open_bundle
    from engines.files import check_writable

    stored.check(goods, "a folder of good parts")
    if report is not None:
        check_writable(report)
    old = open_bundle(bundle)
    with progress_bars() as progress:
        known = [] if reference is None else spread(find_good_parts(reference), most)
        new = make_bundle(old, spread(_good_parts(goods, stored), most), out, progress, known)
    if report is not None:
        write_adapt_report(report, old, new)
    if as_json:
        show_json(new.manifest.model_dump(mode="json"))
        return
    stderr().print(f"[bold green]{escape(str(out))}[/] is ready: bundle {new.short_id}, adapted from {old.short_id}.")
    show(*adapted_sentences(new.manifest))


def spread(parts: list[GoodPart], most: int) -> list[GoodPart]:
    """Returns at most so many parts, evenly spread over all."""
    if len(parts) <= most:
        return parts
    return [parts[index * (len(parts) - 1) // (most - 1)] for index in range(most)]


def adapted_sentences(manifest: Manifest) -> list[str]:
    """Says what an adaptation found and what it changed."""
    from calibration.adapt_report import gains_sentence

    adapted, threshold = manifest.adapted, manifest.threshold
    assert adapted is not None
    low, high = (value / 10 for value in threshold.interval_per_1000)
    said = [
        f"Of {adapted.samples} good parts, {adapted.rejected_before:.0%} were rejected. {gains_sentence(adapted)}",
        f"They lie {adapted.found.mean:+.2f} sigma from where good parts lay, and spread {adapted.found.std:.2f} times "
        "as far.",
        f"Threshold {threshold.value:.2f} in the new sigma, "
        f"{adapted.kept.mean + adapted.kept.std * threshold.value:.2f} in the old: between {low:.0f} and {high:.0f} "
        "false alarms expected in the next 100 good parts (99 %).",
    ]
    if adapted.left_out:
        said.append(f"Left out, because they look defective: {escape(', '.join(adapted.left_out))}.")
    return said + [f"[yellow]Warning: {warning}.[/]" for warning in adapted.warnings]


def _good_parts(folder: Path | None, stored: FromJournal) -> list[GoodPart]:
    from calibration.adapt import GoodPart, find_good_parts

    if folder is not None:
        return find_good_parts(folder)
    pictures, unsure = stored.pictures()
    good = [one for one in pictures if one.taken_for_good]
    if unsure is not None and unsure > MOST_UNSURE:
        stderr().print(
            f"[yellow]Warning: {unsure:.0%} of the parts were rejected and have no label. Those that are good are "
            f"missing here, so the threshold will be too low; label false alarms first.[/]"
        )
    return [GoodPart(one.name, one.path) for one in good]
