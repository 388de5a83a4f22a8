"""What `auto` means: the fastest engine that can run here, measured once and remembered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from engines.bundle import Bundle
from engines.candidates import AUTO, Wanted, exact_device, find_candidates
from engines.catalogue import engine_class
from engines.choice import Candidate, Choice
from engines.choice_cache import Key, keep, recall
from engines.engine import EXACT, Engine, EngineSettings
from engines.errors import ConfigError, EngineUnavailable, TaktlineError
from engines.hint import Hint
from engines.machine import describe_machine, has_nvidia_gpu
from engines.trial import Part, Trial

log = logging.getLogger(__name__)

# What `auto` tries, most promising first. Loading torch costs seconds and hundreds of megabytes, so without a GPU it
# is tried only if nothing else runs.
_ON_NVIDIA = (("tensorrt", None), ("torch", "cuda"))
_ANYWHERE = (("openvino", None), ("onnxruntime", None))
_LAST_RESORT = (("torch", "cpu"),)


@dataclass(frozen=True)
class Request:
    """What `auto` chooses for.

    Attributes:
        engine: a name, or `auto`.
        precision: as `open_engine` takes it.
        device: None for any.
        hint: whether to optimise for a single batch or for many together.
        max_batch: the most frames in one batch.
    """

    engine: str = AUTO
    precision: str = AUTO
    device: str | None = None
    hint: Hint = "latency"
    max_batch: int = 16

    @property
    def open(self) -> bool:
        """Whether anything is left to choose."""
        return AUTO in (self.engine, self.precision)

    @property
    def batch(self) -> int:
        """Frames in a batch while candidates are measured."""
        return 1 if self.hint == "latency" else self.max_batch

    def key(self, bundle: Bundle) -> Key:
        """Everything that the choice depends on."""
        asked = {
            "engine": self.engine, "precision": self.precision, "device": self.device, "hint": self.hint,
            "batch": self.batch, "bundle": bundle.sha256,
        }  # fmt: skip
        return asked | describe_machine()


def choose_engine(bundle: Bundle, request: Request, *, again: bool = False) -> Choice:
    """Returns the fastest candidate on this machine, from an earlier measurement or a new one.

    Args:
        bundle: the opened bundle.
        request: what to choose for.
        again: whether to measure even if that was done before.

    Raises:
        EngineUnavailable: no engine can run here; the text gives the reason for each.
        ConfigError: there is no such engine, device or precision.
    """
    key = request.key(bundle)
    kept = None if again else recall(key)
    if kept is not None:
        return kept
    _check(request)
    candidates = _candidates(bundle, request)
    if request.engine != AUTO:
        listed = list(candidates)
        if len(listed) == 1 and listed[0].left_out is None:
            return Choice.only(listed[0], request.hint, request.batch)
        candidates = iter(listed)
    trial = Trial(
        lambda part: _open_part(bundle, part, request),
        lambda name, device: exact_device(engine_class(name), device),
        request.batch,
        request.hint,
    )
    tried = trial.run(candidates)
    if not any(candidate.images_per_s for candidate in tried):
        tried += trial.run(_last_resort(bundle, request))
    if not tried:
        raise _nothing(bundle, request)
    choice = Choice.of(tried, request.hint, request.batch, trial.seconds)
    log.info("auto measured for %.1f s: %s", choice.seconds, choice.why)
    keep(key, choice)
    return choice


def _check(request: Request) -> None:
    if request.max_batch < 1:
        raise ConfigError(f"max_batch is {request.max_batch}; give 1 or more")
    if request.engine != AUTO:
        engine_class(request.engine)


def _candidates(bundle: Bundle, request: Request) -> Iterator[Candidate]:
    engines = (*(_ON_NVIDIA if has_nvidia_gpu() else ()), *_ANYWHERE)
    named = engines if request.engine == AUTO else ((request.engine, None),)
    return find_candidates(bundle, named, Wanted(request.precision, request.device), engine_class)


def _last_resort(bundle: Bundle, request: Request) -> Iterator[Candidate]:
    engines = _LAST_RESORT if request.engine == AUTO else ()
    return find_candidates(bundle, engines, Wanted(request.precision, request.device), engine_class)


def most_promising(bundle: Bundle, request: Request) -> Candidate:
    """Returns the candidate that would be tried first, without measuring any.

    Raises:
        EngineUnavailable: no engine can run here; the text gives the reason for each.
        ConfigError: there is no such engine, device or precision.
    """
    _check(request)
    tried = []
    for candidates in (_candidates, _last_resort):
        for candidate in candidates(bundle, request):
            if candidate.left_out is None:
                return candidate
            tried.append(candidate)
    if tried:
        # This raises, with the reason for each.
        return Choice.of(tried, request.hint, request.batch, 0.0).chosen
    raise _nothing(bundle, request)


def _nothing(bundle: Bundle, request: Request) -> TaktlineError:
    """Says why there is no candidate."""
    if request.engine != AUTO:
        # The engine itself knows which devices and precisions it offers.
        try:
            engine_class(request.engine)(bundle, EngineSettings(EXACT, 1, request.device)).close()
        except TaktlineError as error:
            return error
    if request.device is not None:
        return ConfigError(f"no engine runs on the device '{request.device}' here; see: taktline engines")
    return ConfigError(f"no engine offers {request.precision} for this bundle here; see: taktline engines")


def _open_part(bundle: Bundle, part: Part, request: Request) -> Engine:
    name, device, precision = part
    settings = EngineSettings(precision, request.batch, device, request.hint, only_full=True)
    engine = engine_class(name)(bundle, settings)
    if engine.max_batch < request.batch:
        engine.close()
        raise EngineUnavailable(f"its device's memory only holds batches of {engine.max_batch}")
    return engine
