"""`taktline bench compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from taktline.cli.console import show
from taktline.cli.options import JsonFile


def compare(
    old: Annotated[Path, typer.Argument(help="The earlier measurement, as --json wrote it.")],
    new: Annotated[Path, typer.Argument(help="The later measurement, as --json wrote it.")],
    fail_above: Annotated[str, typer.Option(help="How much worse a figure may get.")] = "10%",
    json_file: JsonFile = None,
) -> None:
    """Compare two measurements. Exits with 1 if a figure got significantly worse, by more than allowed.

    Example: taktline bench compare old.json new.json --fail-above 10%
    """
    from bench.report.compare import compare_results, differences, read_share
    from bench.report.results import read_results
    from engines.files import check_writable, save
    from taktline.cli.bench.tables import changes_table

    if json_file is not None:
        check_writable(json_file)
    allowed = read_share(fail_above)
    before, after = read_results(old), read_results(new)
    changes = compare_results(before, after, allowed)
    show(*(Text(sentence, "yellow") for sentence in differences(before, after)), changes_table(changes, allowed))
    if json_file is not None:
        save(json_file, json.dumps([change.to_json() for change in changes], indent=1) + "\n")
    if any(change.worse for change in changes):
        raise typer.Exit(1)
