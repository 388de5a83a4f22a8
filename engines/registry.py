"""Opens an engine by its name, or the one that `auto` chooses."""

from __future__ import annotations

import logging
from dataclasses import replace

from engines.auto import Request, choose_engine, most_promising
from engines.bundle import Bundle
from engines.candidates import AUTO, exact_device
from engines.catalogue import ENGINES, engine_class
from engines.choice import Candidate
from engines.closing import closed_on_error
from engines.engine import EXACT, Engine, EngineSettings
from engines.errors import ConfigError, TaktlineError
from engines.foreign import translated
from engines.hint import Hint
from engines.second_look import SecondLook

__all__ = ["ENGINES", "engine_class", "open_engine"]

log = logging.getLogger(__name__)


def open_engine(
    bundle: Bundle,
    engine: str = AUTO,
    precision: str = AUTO,
    max_batch: int = 16,
    device: str | None = None,
    hint: Hint = "latency",
    threshold: float | None = None,
    *,
    measure: bool = True,
) -> Engine:
    """Opens an engine on a bundle, every batch size warmed.

    If the engine or the precision is `auto`, the candidates are timed on this machine, and the fastest is opened. That
    takes up to 15 s once; the choice is stored on disk. `Engine.choice` holds what was measured.

    Args:
        bundle: the opened bundle.
        engine: a name, or `auto` for the fastest that can run here.
        precision: one that the engine offers; one with a second look, such as `bf16+f32`, which rescores in float32
            what lies near the threshold; or `auto` for the fastest that gives float32's verdicts.
        max_batch: the most frames in one batch.
        device: what to run on; None for any.
        hint: whether to optimise for a single batch or for many together.
        threshold: in sigma, for the second look; None for the bundle's own.
        measure: False takes the most promising candidate without measuring: that is fast and always the same.

    Raises:
        EngineUnavailable: it cannot run here; the text says why.
        EngineError: its library failed; the text repeats its message.
        ConfigError: there is no such engine, device or precision.
    """
    request = Request(engine, precision, device, hint, max_batch)
    with translated(f"the engine {engine} cannot be opened"):
        if not request.open:
            return _open(bundle, engine, precision, request, threshold)
        if not measure:
            return _open_chosen(bundle, most_promising(bundle, request), request, threshold)
        choice = choose_engine(bundle, request)
        try:
            running = _open_chosen(bundle, choice.chosen, request, threshold)
        except TaktlineError as error:
            log.warning("what auto chose cannot be opened (%s); measuring the engines again", error)
            choice = choose_engine(bundle, request, again=True)
            running = _open_chosen(bundle, choice.chosen, request, threshold)
        running.choice = choice
        return running


def _open_chosen(bundle: Bundle, chosen: Candidate, request: Request, threshold: float | None) -> Engine:
    return _open(bundle, chosen.engine, chosen.precision, replace(request, device=chosen.device), threshold)


def _open(bundle: Bundle, engine: str, precision: str, request: Request, threshold: float | None) -> Engine:
    """Opens an engine by its name, with a second look if the precision asks for one."""
    found = engine_class(engine)
    fast_name, _, exact_name = precision.partition("+")
    if exact_name and exact_name != EXACT:
        raise ConfigError(f"the precision is {precision}, but second looks are in {EXACT}; give {fast_name}+{EXACT}")
    settings = EngineSettings(fast_name, request.max_batch, request.device, request.hint)
    if not exact_name or fast_name == EXACT:
        return found(bundle, settings)
    band = bundle.manifest.bands.get(fast_name)
    if band is None:
        raise ConfigError(f"the bundle {bundle.path} has no band for {fast_name}; calibrate it again, or give {EXACT}")
    fast = found(bundle, settings)
    with closed_on_error(fast):
        device = exact_device(found, fast.device)
        exact = found(bundle, replace(settings, precision=EXACT, device=device, max_batch=fast.max_batch))
        limit = bundle.manifest.threshold.value if threshold is None else threshold
        return SecondLook(fast, exact, band, limit)
