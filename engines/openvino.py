"""The default engine on a CPU: OpenVINO, in bfloat16 where the processor computes in it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from engines.bundle import MODEL_F32, MODEL_INT8, Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError, EngineUnavailable, missing_package

if TYPE_CHECKING:
    import openvino


class OpenVinoEngine(Engine):
    """Runs the bundle's float32 ONNX model through OpenVINO's asynchronous queue.

    Its inference precision is a hint to OpenVINO: in `bf16` the convolutions compute in bfloat16, and what follows
    the last of them (the score) stays in float32.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, precision: str | None, max_batch: int) -> None:
        super().__init__(bundle, precision, max_batch)
        ov = _import()
        core = ov.Core()
        # The int8 model says itself which layers it computes in 8 bits; the head stays in float32.
        hint = "f32" if self.precision == "int8" else self.precision
        config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        model = bundle.file(MODEL_INT8 if self.precision == "int8" else MODEL_F32)
        try:
            compiled = core.compile_model(str(model), "CPU", config)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {model}: {_first_line(error)}") from error
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        self._queue = ov.AsyncInferQueue(compiled, self.jobs)
        self._queue.set_callback(_deliver)
        self.warm_up()

    @classmethod
    def precisions(cls) -> tuple[str, ...]:
        """Lists `bf16` first where the CPU has it in hardware, then `f32`."""
        capabilities = _import().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("bf16", "f32") if "BF16" in capabilities else ("f32",)

    @classmethod
    def precisions_for(cls, bundle: Bundle) -> tuple[str, ...]:
        """Lists `int8` too where the bundle has such a model."""
        offered = cls.precisions()
        return (*offered, "int8") if MODEL_INT8 in bundle.manifest.files else offered

    def _submit(self, frames: Frames) -> Future[Scores]:
        future: Future[Scores] = Future()
        try:
            # The frames ride along so that their memory lives as long as the request reads it.
            self._queue.start_async({"frames": frames}, (future, frames), share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch: {_first_line(error)}") from error
        return future

    def _close(self) -> None:
        self._queue.wait_all()
        del self._queue


def _deliver(request: openvino.InferRequest, job: tuple[Future[Scores], Frames]) -> None:
    future = job[0]
    try:
        future.set_result(Scores(request.get_tensor("score").data.copy(), request.get_tensor("heatmap").data.copy()))
    except RuntimeError as error:
        failure = EngineError(f"OpenVINO failed on a batch: {_first_line(error)}")
        failure.__cause__ = error
        future.set_exception(failure)


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable(missing_package("openvino", "openvino")) from error
    return openvino


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
