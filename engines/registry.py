"""Which engines there are, and how one is opened by its name."""

from __future__ import annotations

from importlib import import_module

from engines.bundle import Bundle
from engines.engine import Engine
from engines.errors import ConfigError, EngineUnavailable

# In the order in which `auto` prefers them; an engine's module is imported only when it is wanted.
ENGINES = {
    "openvino": "engines.openvino:OpenVinoEngine",
    "torch": "engines.torch:TorchEngine",
}


def engine_class(name: str) -> type[Engine]:
    """Returns the class of the engine with this name.

    Raises:
        ConfigError: there is no such engine.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine '{name}'; give auto, {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Engine] = getattr(import_module(module), attribute)
    return found


def open_engine(bundle: Bundle, engine: str = "auto", precision: str | None = None, max_batch: int = 16) -> Engine:
    """Opens an engine on a bundle, every batch size warmed.

    Args:
        bundle: the opened bundle.
        engine: a name, or `auto` for the first that can run here.
        precision: None for the engine's preferred one.
        max_batch: the most frames in one batch.

    Raises:
        EngineUnavailable: it cannot run here; the text says why.
        ConfigError: no such engine or precision.
    """
    if engine != "auto":
        return engine_class(engine)(bundle, precision, max_batch)
    reasons = []
    for name in ENGINES:
        found = engine_class(name)
        try:
            found.precisions()
        except EngineUnavailable as error:
            reasons.append(f"{name}: {error}")
            continue
        return found(bundle, precision, max_batch)
    raise EngineUnavailable("no engine can run here (" + "; ".join(reasons) + ")")
