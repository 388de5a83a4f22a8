"""Measures a line that gets more frames than it can inspect: it should still inspect as many as at its limit."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure.engine import Report
from bench.measure.limit import find_limit
from bench.measure.line import summarise
from bench.measure.line_suite import LineReport, LineSettings, loaded_line
from engines.errors import ConfigError, TaktlineError


def bench_overload(settings: LineSettings, multiples: Sequence[float], report: Report) -> LineReport:
    """Finds a line's limit with constant arrivals, then offers multiples of it with the arrivals in `settings`.

    Args:
        settings: what to measure; the search is for the limit within its takt.
        multiples: multiples of the limit, such as 2 and 3.
        report: called with the progress.

    Returns:
        A run for the limit and one for each multiple. For each, the figures hold the frames per second that were
        offered and inspected, the share of answers that arrived after the takt, and the slowest answer.

    Raises:
        ConfigError: there is no takt.
        TaktlineError: the line keeps its takt at no rate.
    """
    takt_ms = settings.takt_ms
    if takt_ms is None:
        raise ConfigError("an overloaded line needs a takt; give one with --takt")
    runs, figures = [], {}
    steps = len(multiples) + 1
    with loaded_line(settings) as (bench, _):

        def play(name: str, rate: float, key: str) -> None:
            played = bench.play(settings.schedule(rate), settings.warm_up)
            run = summarise(played, name, settings.to_json() | {"rate": round(rate, 3)})
            runs.append(run)
            figures[f"{key}_offered_per_s"] = rate
            figures[f"{key}_inspected_per_s"] = run.images_per_s
            figures.update({f"{key}_{name}": figure for name, figure in played.answers(takt_ms).items()})

        report("searching the limit", 0, steps)
        # What the line inspects when far too much comes shows roughly how fast it is.
        start = 1000 / max(1.0, takt_ms)
        flooded = summarise(bench.play(settings.schedule(max(200.0, 20 * start)), settings.warm_up), "flooded", {})
        steady = settings.with_arrivals("constant")
        limit = find_limit(
            lambda rate: summarise(bench.play(steady.schedule(rate), steady.warm_up), f"line at {rate:.1f}/s", {}),
            takt_ms,
            1.2 * flooded.images_per_s,
        )
        if not limit.rate:
            raise TaktlineError(f"the line keeps a takt of {takt_ms:g} ms at no rate; give a longer one with --takt")
        play("line at its limit", limit.rate, "overload_1")
        for done, multiple in enumerate(multiples, 1):
            report(f"{multiple:g} times the limit, {multiple * limit.rate:.1f} frames a second", done, steps)
            play(f"line at {multiple:g} times its limit", multiple * limit.rate, f"overload_{multiple:g}")
    report("done", steps, steps)
    return LineReport(tuple(runs), figures | {"limit_per_s": limit.rate})


def draw_overload(figures: dict[str, float]) -> list[str]:
    """Draws the inspected rate against the offered rate, one line of text for each."""
    rates = {
        float(key.removeprefix("overload_").removesuffix("_offered_per_s")): offered
        for key, offered in figures.items()
        if key.startswith("overload_") and key.endswith("_offered_per_s")
    }
    lines = ["offered/s  inspected/s  after the takt  slowest answer"]
    most = max(figures[f"overload_{multiple:g}_inspected_per_s"] for multiple in rates)
    for multiple, offered in sorted(rates.items()):
        inspected = figures[f"overload_{multiple:g}_inspected_per_s"]
        late = figures[f"overload_{multiple:g}_late_share"]
        bar = "#" * round(22 * inspected / most) if most else ""
        slowest = figures[f"overload_{multiple:g}_slowest_ms"]
        lines.append(f"{offered:9.1f}  {inspected:11.1f}  {late:14.3%}  {slowest:11.1f} ms  {bar}")
    return lines
