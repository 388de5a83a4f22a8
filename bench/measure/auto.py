"""Holds what `auto` chooses against everything that was measured in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.report.results import Run
from engines.auto import Request, choose_engine
from engines.bundle import Bundle
from engines.choice import Choice
from engines.engine import EXACT
from engines.hint import Hint


def compare_auto(bundle: Bundle, runs: Sequence[Run]) -> tuple[dict[str, float], list[str]]:
    """Compares the choice of `auto` with the fastest run that gives float32's verdicts.

    For single batches of one frame, the mean latency counts; for the largest batch, the throughput.

    Args:
        bundle: what was measured.
        runs: of `bench_engines`.

    Returns:
        For each of the two, the choice's rate over the best one's, and a sentence. Left out where the choice is not
        among the runs.
    """
    batches = [batch for run in runs if isinstance(batch := run.settings.get("batch"), int)]
    figures, said = {}, []
    for hint, batch in _wanted(batches):
        rates = {_key(run): _rate(run, hint) for run in runs if run.settings.get("batch") == batch and _exact(run)}
        if not rates:
            continue
        choice = choose_engine(bundle, Request(hint=hint, max_batch=batch))
        own = rates.get((choice.chosen.engine, choice.chosen.device, choice.chosen.precision))
        if own is None:
            continue
        figures[f"auto_{hint}_over_best"] = own / max(rates.values())
        said.append(_say(choice, own, rates))
    return figures, said


def _wanted(batches: Sequence[int]) -> Iterator[tuple[Hint, int]]:
    if 1 in batches:
        yield "latency", 1
    if max(batches, default=1) > 1:
        yield "throughput", max(batches)


def _exact(run: Run) -> bool:
    precision = str(run.settings["precision"])
    return precision == EXACT or precision.endswith(f"+{EXACT}")


def _key(run: Run) -> tuple[str, ...]:
    return tuple(str(run.settings[name]) for name in ("engine", "device", "precision"))


def _rate(run: Run, hint: Hint) -> float:
    return 1000 / run.latency_ms["mean"] if hint == "latency" else run.images_per_s


def _say(choice: Choice, own: float, rates: dict[tuple[str, ...], float]) -> str:
    best = max(rates, key=lambda key: rates[key])
    return (
        f"for batches of {choice.batch}, auto takes {choice.chosen.name}: {own:.1f} images/s here, "
        f"{own / rates[best]:.2f} of the best, {' '.join(best)}"
    )
