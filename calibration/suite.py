"""Calibrates every category under a folder with each of several seeds, and evaluates the bundles, for one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from calibration.backbone import ImagenetWeightsMissing
from calibration.batch import at_once
from calibration.calibrate import CalibrationSettings, calibrate
from calibration.dataset import find_dataset
from calibration.evaluate import Evaluation, evaluate
from calibration.progress import Reporter, silent
from calibration.report import write_report
from calibration.suite_record import Record, Result
from engines.bundle import Bundle
from engines.errors import ConfigError, DataError, EngineUnavailable, TaktlineError
from engines.registry import open_engine

# These would end every other calibration in the same way.
_CONCERN_ALL = (ConfigError, EngineUnavailable, ImagenetWeightsMissing)


@dataclass(frozen=True)
class SuitePlan:
    """What is done with each category.

    Attributes:
        settings: of the calibration; the seed is the job's.
        engine: what evaluates the bundle; None for no evaluation.
        precision: the engine's.
    """

    settings: CalibrationSettings
    engine: str | None = None
    precision: str = "auto"


@dataclass(frozen=True)
class Job:
    """One category with one seed.

    Attributes:
        folder: the data set.
        seed: of the calibration.
        out: the bundle's folder; the report and the record of what was found lie beside it.
    """

    folder: Path
    seed: int
    out: Path

    @property
    def category(self) -> str:
        """The category's name."""
        return self.folder.name

    def settings(self, plan: SuitePlan) -> CalibrationSettings:
        """Returns the settings with this job's seed."""
        return replace(plan.settings, training=replace(plan.settings.training, seed=self.seed))

    def record(self, plan: SuitePlan) -> Record:
        """Returns the record of this job, which depends on all that its result depends on.

        Raises:
            DataError: the data set cannot be listed.
        """
        settings = self.settings(plan)
        dataset = find_dataset(self.folder, settings.split, self.seed)
        return Record(self.out, dataset, settings, (plan.engine, plan.precision))


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job.
        result: what came of it; None if it failed.
        why: why it failed.
        earlier: whether an earlier run had done it.
    """

    job: Job
    result: Result | None
    why: str = ""
    earlier: bool = False


class Watch(Protocol):
    """Is told how a suite goes on; the command line draws it."""

    def doing(self, job: Job, words: str) -> None:
        """What a job is at."""

    def ended(self, outcome: Outcome) -> None:
        """A job has ended."""


@dataclass(frozen=True)
class Made:
    """A bundle, in its place, and its evaluation if there is one."""

    bundle: Bundle
    evaluation: Evaluation | None


# Runs jobs: yields each with its bundle and evaluation in place, or with the reason why it failed.
Runner = Callable[[Sequence[Job], SuitePlan, Watch], Iterator[tuple[Job, Made | str]]]


def list_categories(root: Path) -> list[Path]:
    """Lists the folders under `root` that are data sets.

    Raises:
        DataError: there is none.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the folder that holds the categories")
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            find_dataset(folder)
        except DataError:
            continue
        found.append(folder)
    if not found:
        raise DataError(f"no folder under {root} is a data set; give the folder that holds the categories")
    return found


def list_jobs(root: Path, out: Path, seeds: Sequence[int]) -> list[Job]:
    """Lists a job for each category and seed. With one seed, bundles lie in `out` itself, otherwise in `out/seed-N`.

    Raises:
        DataError: there are no categories.
    """
    folders = {seed: out if len(seeds) == 1 else out / f"seed-{seed}" for seed in seeds}
    return [Job(folder, seed, folders[seed] / folder.name) for folder in list_categories(root) for seed in seeds]


def run_suite(
    jobs: Iterable[Job], plan: SuitePlan, watch: Watch, run: Runner, again: bool = False
) -> Iterator[Outcome]:
    """Runs jobs and keeps each result as it comes, so that a run that is broken off can go on.

    Args:
        jobs: see `list_jobs`.
        plan: what is done with each.
        watch: is told how it goes on.
        run: runs them, here or on a cluster.
        again: whether to do also what an earlier run has finished with the same settings, pictures and Taktline.

    Raises:
        TaktlineError: what would end every other job as well, or a result cannot be written. Those before are kept.
    """
    # What a result depends on is looked at before: pictures may change meanwhile.
    records: dict[Job, Record] = {}
    for job in jobs:
        try:
            records[job] = job.record(plan)
        except DataError as error:
            outcome = Outcome(job, None, str(error))
        else:
            known = None if again else _known(job, records[job], plan)
            if known is None:
                continue
            outcome = Outcome(job, known, earlier=True)
            del records[job]
        watch.ended(outcome)
        yield outcome
    for job, made in run(list(records), plan, watch):
        outcome = Outcome(job, None, made) if isinstance(made, str) else Outcome(job, _keep(job, records[job], made))
        watch.ended(outcome)
        yield outcome


def run_here(jobs: Sequence[Job], plan: SuitePlan, watch: Watch) -> Iterator[tuple[Job, Made | str]]:
    """Runs jobs on this machine, one after the other; see `Runner`."""
    for job in jobs:

        def report(task: str, done: int, total: int, note: str = "", job: Job = job) -> None:
            watch.doing(job, f"{task} {done} of {total} {note}".rstrip())

        watch.doing(job, "begins")
        try:
            yield job, make(job.folder, job.out, job.settings(plan), plan, report)
        except _CONCERN_ALL:
            raise
        except TaktlineError as error:
            yield job, str(error)
        except OSError as error:
            raise DataError(f"{job.out} cannot be made: {error.strerror or error}; make room") from error


def make(
    folder: Path, out: Path, settings: CalibrationSettings, plan: SuitePlan, report: Reporter = silent
) -> Made:
    """Calibrates one category into `out` and evaluates it.

    Raises:
        TaktlineError: the data, the weights, the engine or the place cannot be used.
    """
    bundle = calibrate(folder, out, settings, report)
    if plan.engine is None:
        return Made(bundle, None)
    dataset = find_dataset(folder, settings.split, settings.training.seed)
    with open_engine(bundle, plan.engine, plan.precision, at_once(bundle.size), measure=False) as opened:
        return Made(bundle, evaluate(bundle, opened, dataset.test, report))


def concerns_all(error: TaktlineError) -> bool:
    """Whether an error would end every other job as well."""
    return isinstance(error, _CONCERN_ALL)


def _known(job: Job, record: Record, plan: SuitePlan) -> Result | None:
    return record.read() if plan.engine is None or _report(job).is_file() else None


def _keep(job: Job, record: Record, made: Made) -> Result:
    metrics: dict[str, Any] | None = None
    if made.evaluation is not None:
        write_report(_report(job), made.bundle, made.evaluation)
        metrics = {"engine": made.evaluation.engine} | made.evaluation.metrics
    return record.write(made.bundle, metrics)


def _report(job: Job) -> Path:
    return job.out.with_name(f"{job.category}.html")
