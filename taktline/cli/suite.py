"""`--all`: what `taktline evaluate` and `taktline calibrate` do with every category under a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engines.errors import ConfigError, TaktlineError
from taktline.cli.console import stderr
from taktline.cli.signals import on_signals
from taktline.cli.suite_tables import SuiteTable

if TYPE_CHECKING:
    from calibration.suite import Outcome, Runner, SuitePlan


@dataclass(frozen=True)
class SuiteOptions:
    """Options of `--all`."""

    all_under: Annotated[
        Path | None, typer.Option("--all", help="Do it with every category under this folder instead.")
    ] = None
    seeds: Annotated[
        str | None, typer.Option(help="With --all: seeds, such as 0,1,2, for means with their spread.")
    ] = None
    ray: Annotated[
        str | None, typer.Option(help="With --all: on this Ray cluster: its head's address, or auto for the one here.")
    ] = None
    again: Annotated[
        bool, typer.Option("--again", help="With --all: also what an earlier run has finished.")
    ] = False

    def check(self) -> None:
        """Refuses options that mean nothing without `--all`.

        Raises:
            ConfigError: there are such.
        """
        if self.all_under is None and (self.seeds is not None or self.ray is not None or self.again):
            raise ConfigError("--seeds, --ray and --again need --all and the folder that holds the categories")

    def run(self, out: Path, plan: SuitePlan, quiet: bool = False) -> list[Outcome]:
        """Runs every category with each seed, and shows how far each is.

        Args:
            out: the folder for bundles and reports.
            plan: what is done with each; its seed is taken if no others are given.
            quiet: whether nothing is drawn meanwhile.

        Raises:
            TaktlineError: there are no categories, or what would end all of them happened. What was finished is kept.
        """
        from calibration.suite import list_jobs, run_suite
        from engines.files import alone_in, make_folder

        assert self.all_under is not None
        seeds = [plan.settings.training.seed] if self.seeds is None else read_seeds(self.seeds)
        jobs = list_jobs(self.all_under, out, seeds)
        make_folder(out, "give another --out")
        outcomes: list[Outcome] = []
        table = SuiteTable(jobs, quiet)
        with alone_in(out, "give another --out"):
            try:
                with on_signals(table.interrupt), table.shown(), self._runner() as runner:
                    outcomes.extend(run_suite(jobs, plan, table, runner, self.again))
            except TaktlineError as error:
                raise type(error)(f"{error}; {_kept(outcomes)}") from error
            except KeyboardInterrupt as error:
                raise TaktlineError(f"it was interrupted; {_kept(outcomes)}") from error
        earlier = sum(outcome.earlier for outcome in outcomes)
        if earlier:
            stderr().print(f"{earlier} of {len(jobs)} runs were finished before; --again does them anew")
        for outcome in outcomes:
            reason = None if outcome.result is None else outcome.result.bundle.manifest.training.size_reason
            if reason is not None:
                stderr().print(f"{escape(outcome.job.category)}: {escape(reason)}.")
        return outcomes

    @contextmanager
    def _runner(self) -> Iterator[Runner]:
        from calibration.suite import run_here

        if self.ray is None:
            yield run_here
            return
        from calibration.suite_on_ray import SuiteOnRay

        with SuiteOnRay(self.ray) as cluster:
            yield cluster.run


def read_seeds(text: str) -> list[int]:
    """Reads seeds such as `0,1,2`.

    Raises:
        ConfigError: these are none, or one comes twice.
    """
    words = [word.strip() for word in text.split(",")]
    seeds = [int(word) for word in words if word.isascii() and word.isdigit() and int(word) < 2**32]
    if len(seeds) < len(words) or len(set(seeds)) < len(seeds):
        raise ConfigError(f"the seeds are '{text}'; give different whole numbers with commas between, such as 0,1,2")
    return seeds


def check_failed(outcomes: list[Outcome]) -> None:
    """Ends a command in which not everything succeeded.

    Raises:
        TaktlineError: something failed; the text says what first.
    """
    failed = [outcome for outcome in outcomes if outcome.result is None]
    if failed:
        first = failed[0]
        raise TaktlineError(
            f"{len(failed)} of {len(outcomes)} runs failed, first {first.job.category} with seed {first.job.seed}: "
            f"{first.why}; the same command does only those again"
        )


def _kept(outcomes: list[Outcome]) -> str:
    done = sum(outcome.result is not None for outcome in outcomes)
    return f"{done} finished runs are kept, and the same command goes on from there" if done else "nothing is kept yet"
