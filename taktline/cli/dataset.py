"""`taktline dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from calibration.defaults import DEFAULT_SPLIT
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import DataArgument, JsonFlag, SeedOption, SplitOption
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from calibration.survey import Survey

_MOST_SIZES = 5


def dataset(
    data: DataArgument, split: SplitOption = DEFAULT_SPLIT, seed: SeedOption = 0, as_json: JsonFlag = False
) -> None:
    """Check a data set: its layout, counts, picture sizes and problems.

    Example: taktline dataset data/bottle
    """
    from calibration.dataset import find_dataset
    from calibration.survey import survey_dataset

    found = find_dataset(data, split, seed)
    with progress_bars() as report:
        survey = survey_dataset(found, report)
    if as_json:
        show_json(survey.to_json())
        return
    show(survey_table(survey))
    for problem in survey.problems:
        show(Text.assemble(("• ", "yellow"), problem))
    if not survey.problems:
        show("[green]no problems found[/]")


def survey_table(survey: Survey) -> ResultTable:
    """Shows the contents of a data set."""
    table = ResultTable("pictures", "count", title=f"{survey.category} ({survey.layout} layout)")
    table.add_row("train, good", str(survey.train))
    for kind, count in survey.test.items():
        table.add_row(f"test, {kind}", str(count))
    table.add_row("with a mask", str(survey.masks))
    shown = list(survey.sizes.items())[:_MOST_SIZES]
    for size, count in shown:
        table.add_row(f"of size {size}", str(count))
    if len(survey.sizes) > len(shown):
        table.add_row("of other sizes", str(sum(survey.sizes.values()) - sum(count for _, count in shown)))
    return table
