"""The engines by name."""

from __future__ import annotations

from importlib import import_module

from engines.engine import NetworkEngine
from engines.errors import ConfigError

# An engine's module is imported only when it is wanted.
ENGINES = {
    "tensorrt": "engines.tensorrt:TensorRtEngine",
    "openvino": "engines.openvino:OpenVinoEngine",
    "onnxruntime": "engines.onnxruntime:OnnxRuntimeEngine",
    "torch": "engines.torch:TorchEngine",
}


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
