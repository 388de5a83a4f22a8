"""`taktline compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engines.errors import ConfigError
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import JsonFlag, ReportFile, flatten
from taktline.cli.stored import FromJournal
from taktline.cli.table import Column, ResultTable

if TYPE_CHECKING:
    from calibration.comparison import Candidate, Comparison


@flatten
def compare(
    old: Annotated[Path, typer.Argument(help="The bundle that runs.")],
    new: Annotated[Path, typer.Argument(help="The bundle that may replace it.")],
    stored: FromJournal,
    data: Annotated[Path | None, typer.Argument(help="Folder with pictures, or a data set.")] = None,
    report: ReportFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge stored pictures with two bundles, and list every verdict that differs.

    Example: taktline compare runs/bottle runs/bottle-adapted data/bottle --report compare.html
    """
    from calibration.comparison import compare_bundles, write_comparison
    from engines.bundle import open_bundle
    from engines.files import check_writable

    stored.check(data, "a folder of pictures")
    if report is not None:
        check_writable(report)
    first, second = open_bundle(old), open_bundle(new)
    if first.sha256 == second.sha256:
        raise ConfigError(f"{old} and {new} are the same bundle; give two")
    with progress_bars() as progress:
        comparison = compare_bundles(first, second, _candidates(data, stored), progress)
    if report is not None:
        write_comparison(report, comparison)
    if as_json:
        show_json(comparison.to_json())
    else:
        show(*comparison_tables(comparison))


def comparison_tables(comparison: Comparison) -> list[ResultTable]:
    """Shows what each bundle gets right and wrong, and every verdict that differs."""
    from calibration.comparison import comparison_rows

    counts = ResultTable("", "old", "new", title=f"{len(comparison.parts)} pictures")
    for row in comparison_rows(comparison):
        counts.add_row(*row)
    differing = comparison.differing
    listed = ResultTable(
        "part", Column("it is", left=True), "old", "score", "new", "score", title=f"{len(differing)} verdicts differ"
    )
    for one in differing:
        values = one.to_json()
        listed.add_row(
            one.part.name, values["truth"] or "?", _colour(values["old"]), f"{one.scores[0]:.2f}",
            _colour(values["new"]), f"{one.scores[1]:.2f}",
        )  # fmt: skip
    return [counts, listed] if differing else [counts]


def _colour(verdict: str) -> Text:
    return Text(verdict, style="red" if verdict == "ng" else "green")


def _candidates(data: Path | None, stored: FromJournal) -> list[Candidate]:
    from calibration.comparison import Candidate
    from calibration.dataset import list_images, open_test_split

    if data is None:
        pictures, _ = stored.pictures()
        known = {None: None, "good": False, "defective": True}
        return [Candidate(one.name, one.path, known[one.truth]) for one in pictures]
    loose = list_images(data)
    if loose:
        return [Candidate(path.name, path, None) for path in loose]
    return [Candidate(one.part, one.path, one.defective) for one in open_test_split(data)]
