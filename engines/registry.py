"""Which engines there are, and how one is opened by its name."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from engines.bundle import Bundle
from engines.engine import EXACT, Engine, EngineSettings, Hint, NetworkEngine
from engines.errors import ConfigError, EngineUnavailable
from engines.foreign import translated
from engines.second_look import SecondLook

# An engine's module is imported only when it is wanted.
ENGINES = {
    "tensorrt": "engines.tensorrt:TensorRtEngine",
    "openvino": "engines.openvino:OpenVinoEngine",
    "onnxruntime": "engines.onnxruntime:OnnxRuntimeEngine",
    "torch": "engines.torch:TorchEngine",
}
# What `auto` tries, in this order.
_PREFERRED = (
    ("tensorrt", None),
    ("torch", "cuda"),
    ("openvino", None),
    ("onnxruntime", None),
    ("torch", None),
)


def engine_class(name: str) -> type[NetworkEngine]:
    """Returns the class of the engine with this name.

    Raises:
        ConfigError: there is no such engine.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine '{name}'; give auto, {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[NetworkEngine] = getattr(import_module(module), attribute)
    return found


def open_engine(
    bundle: Bundle,
    engine: str = "auto",
    precision: str | None = None,
    max_batch: int = 16,
    device: str | None = None,
    hint: Hint = "latency",
    threshold: float | None = None,
) -> Engine:
    """Opens an engine on a bundle, every batch size warmed.

    Args:
        bundle: the opened bundle.
        engine: a name, or `auto` for the first that can run here.
        precision: one of the engine's; None for its preferred one; `auto` for that one with a second look in float32 at
            what lies near the threshold, so that verdicts are float32's; `int8+f32` and the like to say which.
        max_batch: the most frames in one batch.
        device: what to run on; None for the engine's preferred one.
        hint: whether a single batch should be quick, or many together.
        threshold: in sigma, for the second look; None for the bundle's own.

    Raises:
        EngineUnavailable: it cannot run here; the text says why.
        EngineError: its library failed; the text has its words.
        ConfigError: no such engine, device or precision.
    """
    with translated(f"the engine {engine} cannot be opened"):
        return _open(bundle, engine, precision, EngineSettings(None, max_batch, device, hint), threshold)


def _open(
    bundle: Bundle, engine: str, precision: str | None, settings: EngineSettings, threshold: float | None
) -> Engine:
    fast_name, _, exact_name = (precision or "").partition("+")
    look = precision == "auto" or bool(exact_name)
    asked = None if fast_name in {"", "auto"} else fast_name
    if exact_name and exact_name != EXACT:
        raise ConfigError(f"the precision is {precision}; a second look is taken in {EXACT}: {fast_name}+{EXACT}")
    found, settings = _choose(engine, replace(settings, precision=asked))
    if not look:
        return found(bundle, settings)
    offered = found.precisions_for(bundle, settings.device or found.devices()[0])
    fast_precision = asked or offered[0]
    exact_settings = _exact(found, settings)
    band = bundle.manifest.bands.get(fast_precision)
    if fast_precision == EXACT or (band is None and asked is None):
        return found(bundle, exact_settings)
    if band is None:
        raise ConfigError(f"the bundle {bundle.path} knows no band for {asked}; calibrate it again, or give {EXACT}")
    fast = found(bundle, replace(settings, precision=fast_precision))
    try:
        exact = found(bundle, replace(exact_settings, max_batch=fast.max_batch))
        limit = bundle.manifest.threshold.value if threshold is None else threshold
        return SecondLook(fast, exact, band, limit)
    except BaseException:
        fast.close()
        raise


def _exact(found: type[NetworkEngine], settings: EngineSettings) -> EngineSettings:
    """Settings for float32: on the same device where it offers that, else on the CPU."""
    devices = found.devices()
    device = settings.device or devices[0]
    if device in devices and EXACT not in found.precisions(device):
        device = "cpu"
    return replace(settings, precision=EXACT, device=device)


def _choose(engine: str, settings: EngineSettings) -> tuple[type[NetworkEngine], EngineSettings]:
    if engine != "auto":
        return engine_class(engine), settings
    reasons = []
    for name, wanted in _PREFERRED:
        found = engine_class(name)
        try:
            devices = found.devices()
        except EngineUnavailable as error:
            reasons.append(f"{name}: {error}")
            continue
        if wanted is not None and wanted not in devices:
            continue
        if settings.device is None:
            return found, replace(settings, device=wanted)
        if settings.device in devices:
            return found, settings
    if settings.device is not None:
        raise ConfigError(f"no engine runs on the device '{settings.device}' here; see: taktline engines")
    raise EngineUnavailable("no engine can run here (" + "; ".join(reasons) + ")")
