"""`taktline deploy`."""

from __future__ import annotations

import getpass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from engines.errors import ConfigError, TaktlineError
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import KeyOption, ReportFile, ServerKeyOption, flatten
from taktline.cli.orders import make_order, reach_line, show_status
from taktline.cli.stored import FromJournal

if TYPE_CHECKING:
    from calibration.comparison import Comparison
    from taktline.cli.proof import Proof

_NOT_BETTER = 1


@flatten
def deploy(
    bundle: Annotated[Path, typer.Argument(help="The new model bundle.")],
    stored: FromJournal,
    line: Annotated[str, typer.Option(help="The line's name, or its control address.")] = "line",
    other_part: Annotated[bool, typer.Option("--other-part", help="Accept a bundle made for another part.")] = False,
    shadow: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Only let it judge so many parts beside the running bundle, and report."),
    ] = None,
    if_better: Annotated[
        bool, typer.Option("--if-better", help="Switch only if labelled parts, and --shadow, say that it is better.")
    ] = False,
    miss_costs: Annotated[
        float | None,
        typer.Option(min=0.01, max=1e6, help="How many false alarms a missed defect costs, for --if-better."),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who orders it, for the audit. Default: the user's name.")] = None,
    report: ReportFile = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Switch a running line to another bundle without losing a frame; with --shadow, let it judge beside first.

    With --if-better, exits with 1 if the line was not switched.

    Example: taktline deploy runs/bottle-2 --line press4 --shadow 500 --if-better
    """
    tell = reach_line(line, key, server_key)
    if not if_better and any((stored.journal, stored.camera, stored.since, stored.until, miss_costs is not None)):
        raise ConfigError("--journal, --camera, --from, --to and --miss-costs belong to --if-better; give that too")
    if shadow is None and not if_better:
        if report is not None:
            raise ConfigError("there is nothing to report without --shadow or --if-better; give one of them")
        values = {"do": "deploy", "bundle": str(bundle.resolve()), "other_part": other_part}
        show_status(tell(make_order(values, str(bundle))), as_json)
        return
    if other_part:
        raise ConfigError("a bundle for another part cannot be compared with the running one; leave out --shadow and "
                          "--if-better, or --other-part")  # fmt: skip
    from engines.files import check_writable
    from taktline.cli.proof import Proof

    if report is not None:
        check_writable(report)
    proof = Proof.of(tell, bundle, stored)
    if not if_better:
        assert shadow is not None
        with progress_bars() as progress:
            found = proof.shadow(shadow, progress)
        _show([found], report, as_json, {"deployed": False})
        return
    _deploy_if_better(proof, shadow, miss_costs, by or getpass.getuser(), report, as_json)


def _deploy_if_better(
    proof: Proof, shadow: int | None, miss_costs: float | None, by: str, report: Path | None, as_json: bool
) -> None:
    from calibration.better import LEAST_EVERYDAY, decide, enough_labels
    from pipeline.journal.audit import AuditTrail

    if shadow is not None and shadow < LEAST_EVERYDAY:
        raise ConfigError(f"--shadow {shadow} is too few to tell whether it is better; give {LEAST_EVERYDAY} or more")
    arguments = {"bundle": str(proof.new.path.resolve()), "sha256": proof.new.sha256, "shadow": shadow,
                 "if_better": True, "miss_costs": miss_costs}  # fmt: skip
    with AuditTrail(proof.journal) as audit:
        number = audit.record(by, "command line", "deploy", arguments, "given")
        try:
            with progress_bars() as progress:
                labelled, accepted = proof.labelled(progress)
                comparisons = [labelled]
                everyday, pace = proof.everyday(accepted), proof.pace(labelled)
                if shadow is not None and enough_labels(labelled):
                    beside = proof.shadow(shadow, progress)
                    comparisons.insert(0, beside)
                    everyday, pace = proof.everyday(beside.parts), proof.pace(beside)
            costs = proof.miss_costs if miss_costs is None else miss_costs
            answer = decide(labelled, everyday, pace, costs)
            if answer.switch:
                proof.deploy()
        except TaktlineError as error:
            audit.finish(number, str(error))
            raise
        except BaseException:
            audit.finish(number, "interrupted; the line runs on as before")
            raise
        done = "done" if answer.switch else "not done"
        audit.finish(number, f"{done}: {answer.reason}")
    said = f"The line runs {proof.new.short_id} now. " if answer.switch else "The line was not switched. "
    comparisons[0] = replace(comparisons[0], notes=(*comparisons[0].notes, said + answer.reason))
    _show(comparisons, report, as_json, {"deployed": answer.switch, "answer": answer.to_json()})
    if not answer.switch:
        raise typer.Exit(_NOT_BETTER)


def _show(comparisons: list[Comparison], report: Path | None, as_json: bool, more: dict[str, Any]) -> None:
    from calibration.comparison import write_comparison
    from taktline.cli.compare import comparison_tables

    if report is not None:
        write_comparison(report, *comparisons)
    if as_json:
        show_json(more | {"comparisons": [one.to_json() | {"notes": one.notes} for one in comparisons]})
        return
    for one in reversed(comparisons):
        show(*comparison_tables(one), *(Text(note) for note in one.notes))
