"""The default engine on a CPU: OpenVINO, in bfloat16 if the processor supports it."""

from __future__ import annotations

import threading
import time
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.bundle import MODEL_F32, MODEL_INT8, Bundle
from engines.cache import cache_folder, prune
from engines.engine import EXACT, EngineSettings, Frames, Scores, Timing
from engines.errors import EngineUnavailable
from engines.extras import require
from engines.foreign import translated
from engines.slot_engine import SlotEngine

FloatArray = npt.NDArray[np.float32]

_MOST_CACHED = 2 << 30
_ONE_CORE = threading.Lock()


class OpenVinoEngine(SlotEngine):
    """Runs the bundle's float32 ONNX model, or its 8-bit one, through OpenVINO's asynchronous requests.

    The precision is a hint to OpenVINO: in `bf16` the convolutions compute in bfloat16, and what follows the last of
    them (the score) stays in float32. Compiled models are kept on disk, so reopening is quick.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        super().__init__(bundle, settings)
        core = open_core()
        target = self.device.upper()
        folder = cache_folder("openvino")
        int8 = bundle.manifest.int8
        rest = EXACT if int8 is None else int8.rest
        config = {
            # The int8 model itself marks its 8-bit layers; the others run in the precision it was fitted to.
            "INFERENCE_PRECISION_HINT": rest if self.precision == "int8" else self.precision,
            "PERFORMANCE_HINT": settings.hint.upper(),
            "CACHE_DIR": str(folder),
        }
        model = bundle.file(MODEL_INT8 if self.precision == "int8" else MODEL_F32)
        with translated(f"OpenVINO cannot load {model} on {target}"):
            compiled = core.compile_model(str(model), target, config)
        prune(folder, _MOST_CACHED)
        self.device_name = str(core.get_property(target, "FULL_DEVICE_NAME")).strip()
        # With the latency hint a CPU asks for one request; with a second one, the next batch can be prepared in time.
        self.jobs = max(2, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        # Not its AsyncInferQueue, which never reports a failed request and takes no more after it.
        self._open_slots([_Slot(self, compiled.create_infer_request()) for _ in range(self.jobs)])

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """Lists `cpu`, and `gpu` and `npu` if Intel's drivers for them are installed."""
        found = {name.partition(".")[0].lower() for name in open_core().available_devices}
        return tuple(name for name in ("cpu", "gpu", "npu") if name in found)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Lists `bf16` first if a CPU has it in hardware, `f16` on a GPU or NPU, then `f32`."""
        capabilities = open_core().get_property(device.upper(), "OPTIMIZATION_CAPABILITIES")
        fast = ("bf16", "BF16") if device == "cpu" else ("f16", "FP16")
        offered = (fast[0],) if fast[1] in capabilities else ()
        return offered if device == "npu" else (*offered, "f32")

    @classmethod
    def precisions_for(cls, bundle: Bundle, device: str) -> tuple[str, ...]:
        """Lists `int8` too, if the bundle has such a model and the device has the precision of its other layers."""
        offered, int8 = cls.precisions(device), bundle.manifest.int8
        return (*offered, "int8") if int8 is not None and int8.accepted and int8.rest in offered else offered

    def wrap(self, score: FloatArray, heatmap: FloatArray, timing: Timing) -> Scores:
        """Turns copies of a request's outputs into scores."""
        return self._scores(score, heatmap, timing)


class _Slot:
    """An inference request, which OpenVINO computes on its own threads."""

    def __init__(self, engine: OpenVinoEngine, request: Any) -> None:
        self._engine, self._request = engine, request

    def start(self, frames: Frames) -> None:
        # The request reads the frames in place, so they must live as long as it runs.
        self._frames = frames
        self._request.start_async({"frames": frames}, share_inputs=True)

    def finish(self) -> Scores:
        self._request.wait()
        started = time.perf_counter_ns()
        score, heatmap = (self._request.get_tensor(name).data.copy() for name in ("score", "heatmap"))
        timing = Timing(0, int(self._request.latency * 1e6), time.perf_counter_ns() - started)
        return self._engine.wrap(score, heatmap, timing)


def open_core() -> Any:
    """Returns OpenVINO's core, of which the process has exactly one.

    Raises:
        EngineUnavailable: OpenVINO is not installed.
    """
    # Its CPU plugin gives the thread that first uses it an alternate signal stack, and unmaps that stack when the last
    # core or model is freed, on whatever thread. The next signal then kills the process. So the plugin must stay.
    with _ONE_CORE:
        return _make_core()


@cache
def _make_core() -> Any:
    return require("openvino", "", EngineUnavailable).Core()
