"""The default engine on a CPU: OpenVINO, in bfloat16 where the processor computes in it."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from engines.bundle import MODEL_F32, MODEL_INT8, Bundle
from engines.cache import cache_folder, prune
from engines.engine import EXACT, EngineSettings, Frames, NetworkEngine, Scores, Timing
from engines.errors import EngineError, EngineUnavailable
from engines.extras import require
from engines.jobs import first_line

if TYPE_CHECKING:
    import openvino

_MOST_CACHED = 2 << 30


class OpenVinoEngine(NetworkEngine):
    """Runs the bundle's float32 ONNX model, or its 8-bit one, through OpenVINO's asynchronous queue.

    Its inference precision is a hint to OpenVINO: in `bf16` the convolutions compute in bfloat16, and what follows
    the last of them (the score) stays in float32. Compiled models are kept on disk, so that opening is quick.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        super().__init__(bundle, settings)
        ov = _import()
        core = ov.Core()
        target = self.device.upper()
        folder = cache_folder("openvino")
        int8 = bundle.manifest.int8
        rest = EXACT if int8 is None else int8.rest
        config = {
            # The int8 model says itself which layers it computes in 8 bits; the others run in what it was fitted to.
            "INFERENCE_PRECISION_HINT": rest if self.precision == "int8" else self.precision,
            "PERFORMANCE_HINT": settings.hint.upper(),
            "CACHE_DIR": str(folder),
        }
        model = bundle.file(MODEL_INT8 if self.precision == "int8" else MODEL_F32)
        try:
            compiled = core.compile_model(str(model), target, config)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {model} on {target}: {first_line(error)}") from error
        prune(folder, _MOST_CACHED)
        self.device_name = str(core.get_property(target, "FULL_DEVICE_NAME")).strip()
        # With the latency hint a CPU asks for one request; a second lets the next batch be prepared meanwhile.
        self.jobs = max(2, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        self._queue = ov.AsyncInferQueue(compiled, self.jobs)
        self._queue.set_callback(self._deliver)
        self.warm_up()

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """Lists `cpu`, and `gpu` and `npu` where Intel's drivers for them are installed."""
        found = {name.partition(".")[0].lower() for name in _import().Core().available_devices}
        return tuple(name for name in ("cpu", "gpu", "npu") if name in found)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Lists `bf16` first where a CPU has it in hardware, `f16` on a GPU or NPU, then `f32`."""
        capabilities = _import().Core().get_property(device.upper(), "OPTIMIZATION_CAPABILITIES")
        fast = ("bf16", "BF16") if device == "cpu" else ("f16", "FP16")
        offered = (fast[0],) if fast[1] in capabilities else ()
        return offered if device == "npu" else (*offered, "f32")

    @classmethod
    def precisions_for(cls, bundle: Bundle, device: str) -> tuple[str, ...]:
        """Lists `int8` too where the bundle has such a model, and the device the precision of its other layers."""
        offered, int8 = cls.precisions(device), bundle.manifest.int8
        return (*offered, "int8") if int8 is not None and int8.accepted and int8.rest in offered else offered

    def _submit(self, frames: Frames, _until: int | None) -> Future[Scores]:
        future: Future[Scores] = Future()
        try:
            # The frames ride along so that their memory lives as long as the request reads it.
            self._queue.start_async({"frames": frames}, (future, frames), share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch: {first_line(error)}") from error
        return future

    def _deliver(self, request: openvino.InferRequest, job: tuple[Future[Scores], Frames]) -> None:
        future = job[0]
        started = time.perf_counter_ns()
        try:
            score, heatmap = (request.get_tensor(name).data.copy() for name in ("score", "heatmap"))
            # It reads the frames where they lie.
            timing = Timing(0, int(request.latency * 1e6), time.perf_counter_ns() - started)
        except RuntimeError as error:
            failure = EngineError(f"OpenVINO failed on a batch: {first_line(error)}")
            failure.__cause__ = error
            future.set_exception(failure)
        else:
            future.set_result(self._scores(score, heatmap, timing))

    def _close(self) -> None:
        self._queue.wait_all()
        del self._queue


def _import() -> Any:
    return require("openvino", "", EngineUnavailable)
