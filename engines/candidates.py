"""Lists the engines that `auto` may choose from: those that run here and give float32's verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from engines.bundle import Bundle
from engines.choice import Candidate
from engines.engine import EXACT, NetworkEngine
from engines.errors import EngineUnavailable

# Loads an engine's class by name, which imports its library.
Loader = Callable[[str], type[NetworkEngine]]
AUTO = "auto"


@dataclass(frozen=True)
class Wanted:
    """What candidates must be.

    Attributes:
        precision: as `open_engine` takes it; `auto` for any that gives float32's verdicts.
        device: None for any.
    """

    precision: str = AUTO
    device: str | None = None


def find_candidates(
    bundle: Bundle, engines: Iterable[tuple[str, str | None]], wanted: Wanted, load: Loader
) -> Iterator[Candidate]:
    """Yields candidates, most promising first. An engine is imported only when its turn comes.

    Args:
        bundle: the opened bundle.
        engines: names, each with the only device it is wanted on, or None for all its devices here.
        wanted: what the candidates must be.
        load: returns an engine's class.
    """
    for name, only in engines:
        try:
            found = load(name)
            devices = found.devices()
        except EngineUnavailable as error:
            if wanted.device is None:
                yield Candidate(engine=name, device="-", precision="-", left_out=str(error))
            continue
        for device in devices:
            if only in {None, device} and wanted.device in {None, device}:
                yield from _on_device(bundle, name, device, found, wanted.precision)


def exact_device(found: type[NetworkEngine], device: str) -> str:
    """Returns the device of an engine's second look: the same one if it offers float32, otherwise the CPU."""
    return device if EXACT in found.precisions(device) else "cpu"


def _on_device(bundle: Bundle, name: str, device: str, found: type[NetworkEngine], wanted: str) -> Iterator[Candidate]:
    for fast in found.precisions_for(bundle, device):
        band = bundle.manifest.bands.get(fast)
        rescored = f"{fast}+{EXACT}"
        if wanted in {rescored, AUTO} and fast != EXACT and band is not None:
            share = min(1.0, max(0.0, band.share))
            yield Candidate(engine=name, device=device, precision=rescored, share=share)
        elif wanted == fast or (wanted == AUTO and fast == EXACT):
            yield Candidate(engine=name, device=device, precision=fast)
