"""Tables of a suite: one that fills while it goes on, and those at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from taktline.cli.console import stderr
from taktline.cli.drawing import Drawing
from taktline.cli.evaluate_tables import category_tables, figure
from taktline.cli.table import Cell, Column, ResultTable

if TYPE_CHECKING:
    from calibration.suite import Job, Outcome

_WAITS = Text("...", "dim")


class SuiteTable:
    """A row for each category and a column for each seed, which tell what each run is at.

    If stderr is no terminal, each run that ends is a line there instead.

    Args:
        jobs: the runs.
        quiet: whether nothing is shown.
    """

    def __init__(self, jobs: Sequence[Job], quiet: bool = False) -> None:
        self._cells: dict[str, dict[int, Cell]] = {}
        for job in jobs:
            self._cells.setdefault(job.category, {})[job.seed] = _WAITS
        self._seeds = list(dict.fromkeys(job.seed for job in jobs))
        self._count, self._ended, self._quiet = len(jobs), 0, quiet
        self._drawing = Drawing(quiet)
        self._interrupted = False

    def interrupt(self) -> None:
        """Ends the runs, now or with the next that is told of them.

        Raises:
            KeyboardInterrupt: in any case. Where a signal arrives in the middle of some libraries' work, that is lost.
        """
        self._interrupted = True
        raise KeyboardInterrupt

    @contextmanager
    def shown(self) -> Iterator[Self]:
        """Shows it within the block."""
        with self._drawing.shown():
            self._drawing.draw(self.table())
            yield self

    def doing(self, job: Job, words: str) -> None:
        """See `calibration.suite.Watch`."""
        if self._interrupted:
            raise KeyboardInterrupt
        self._cells[job.category][job.seed] = Text(words, "cyan")
        if self._drawing.due:
            self._drawing.draw(self.table())

    def ended(self, outcome: Outcome) -> None:
        """See `calibration.suite.Watch`."""
        self._ended += 1
        words = "failed" if outcome.result is None else _in_short(outcome)
        style = "bold red" if outcome.result is None else "dim" if outcome.earlier else "green"
        self._cells[outcome.job.category][outcome.job.seed] = Text(words, style)
        self._drawing.draw(self.table())
        if not self._drawing.seen and not self._quiet:
            name = f"{outcome.job.category}, seed {outcome.job.seed}"
            more = f": {outcome.why}" if outcome.why else " (finished before)" if outcome.earlier else ""
            stderr().print(f"{self._ended} of {self._count}: {escape(name)}: {escape(words + more)}")

    def table(self) -> ResultTable:
        """Returns the table as it is now."""
        columns = (Column(f"seed {seed}", left=True) for seed in self._seeds)
        table = ResultTable("category", *columns, title=f"{self._ended} of {self._count} runs")
        for category, cells in self._cells.items():
            table.add_row(category, *(cells[seed] for seed in self._seeds))
        return table


def evaluated_tables(table: dict[str, list[dict[str, Any]]]) -> list[RenderableType]:
    """Shows the figures of a suite, as `calibration.suite_figures.suite_table` returns them."""
    failed = table.get("failed", [])
    return [*category_tables(table["rows"], table.get("spread")), *([_failed_table(failed)] if failed else [])]


def calibrated_tables(outcomes: Sequence[Outcome]) -> list[RenderableType]:
    """Shows the bundles that a suite has made."""
    table = ResultTable(
        "category", "seed", "good parts", "epochs", "validation loss", "threshold", "seconds", title="every category"
    )
    done = [(outcome.job, outcome.result.bundle.manifest) for outcome in outcomes if outcome.result is not None]
    for job, manifest in sorted(done, key=lambda one: (one[0].category, one[0].seed)):
        training = manifest.training
        table.add_row(
            job.category, str(job.seed), str(training.normals), str(training.epochs),
            figure(min(training.validation_loss)), figure(manifest.threshold.value), f"{training.seconds:.0f}",
        )  # fmt: skip
    failed = [
        {"category": one.job.category, "seed": one.job.seed, "why": one.why} for one in outcomes if one.result is None
    ]
    return [table, *([_failed_table(failed)] if failed else [])]


def bundle_values(outcome: Outcome) -> dict[str, Any]:
    """Returns how a calibration ended as plain values."""
    manifest = None if outcome.result is None else outcome.result.bundle.manifest.model_dump(mode="json")
    values = {"category": outcome.job.category, "seed": outcome.job.seed, "out": str(outcome.job.out)}
    return values | {"earlier": outcome.earlier, "why": outcome.why or None, "manifest": manifest}


def _failed_table(failed: Sequence[dict[str, Any]]) -> ResultTable:
    table = ResultTable("category", "seed", Column("why", prose=True), title="failed")
    for row in failed:
        table.add_row(row["category"], str(row["seed"]), row["why"])
    return table


def _in_short(outcome: Outcome) -> str:
    assert outcome.result is not None
    metrics = outcome.result.metrics
    return "done" if metrics is None else f"AUROC {figure(metrics['auroc'])}, F1 {figure(metrics['f1'])}"
