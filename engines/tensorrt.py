"""The engine for NVIDIA GPUs: a TensorRT plan, several batches in flight, one launch a batch."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.cache import cache_folder, store
from engines.cuda import CudaOutOfMemory
from engines.engine import EngineSettings, Frames, Scores
from engines.errors import EngineError
from engines.open_cuda import open_cuda
from engines.plans import PRECISIONS, TensorRt, find_tensorrt, forget_plan, open_plan
from engines.slot_engine import SlotEngine

log = logging.getLogger(__name__)


class TensorRtEngine(SlotEngine):
    """Runs a plan built from the bundle's FP16 model, or from its float32 model as the reference.

    Every slot has its own stream, page-locked buffers and scratch memory. Copying in, computing and copying out are
    captured into one CUDA graph for each batch size. Each graph has its own execution context, as capturing requires.
    Nothing is allocated for a batch, and nothing waits for the whole device.
    """

    name = "tensorrt"

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        super().__init__(bundle, settings)
        self.grid = bundle.manifest.heatmap.grid
        self.tensorrt = find_tensorrt()
        while True:
            self.cuda = open_cuda()
            try:
                with self.cuda.current():
                    self._open(bundle)
                break
            except CudaOutOfMemory as error:
                self.cuda.close()
                self._halve_batch(error)
            except BaseException:
                self.cuda.close()
                raise
        self.device_name = f"{self.cuda.device}, {self.tensorrt.flavour} {self.tensorrt.version}"
        self._open_slots(self._slots)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """Lists `cuda` if TensorRT, a CUDA package, a driver and a GPU are present."""
        find_tensorrt()
        open_cuda().close()
        return ("cuda",)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Lists `f16` first, then `f32`."""
        del device
        return PRECISIONS

    def _open(self, bundle: Bundle) -> None:
        plan = _Plan(self.tensorrt, self._load(bundle))
        self._slots = [_Slot(self, plan) for _ in range(self.jobs)]
        plan.keep_kernels()

    def _load(self, bundle: Bundle) -> Any:
        """Loads the plan. If it does not load, whatever the reason, it is built again once."""
        key = (bundle, self.precision, self.max_batch, self.cuda.capability, self.cuda.device)
        self._runtime = self.tensorrt.api.Runtime(self.tensorrt.api.Logger(self.tensorrt.api.ILogger.ERROR))
        for _ in range(2):
            engine = self._runtime.deserialize_cuda_engine(open_plan(*key))
            if engine is not None:
                return engine
            log.warning("the TensorRT plan does not load; building it again")
            forget_plan(*key)
        raise EngineError(
            f"{self.tensorrt.flavour} {self.tensorrt.version} does not load its own plan on {self.cuda.device}; "
            "see its log"
        )

    def wrap(self, slot: _Slot, count: int) -> Scores:
        """Copies a slot's outputs, so that the slot can take another batch."""
        return self._scores(slot.score[:count].copy(), slot.heatmap[:count].copy())

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        with self.cuda.current():
            return super()._submit(frames, until)

    def _close(self) -> None:
        super()._close()
        # Contexts, plan and runtime must go in this order, before the memory that they use.
        del self._slots, self._runtime
        self.cuda.close()


class _Plan:
    """A loaded plan, which creates execution contexts.

    TensorRT for RTX compiles its kernels on the machine that runs the plan. It does so eagerly, because a graph must
    not capture the slow kernels that stand in at first. The kernels are kept on disk for the next start.
    """

    def __init__(self, tensorrt: TensorRt, engine: Any) -> None:
        self._api, self._engine = tensorrt.api, engine
        self._config = self._kernels = None
        by_user = self._api.ExecutionContextAllocationStrategy.USER_MANAGED
        if tensorrt.flavour == "tensorrt_rtx":
            self._file = cache_folder("plans") / f"{tensorrt.flavour}-{tensorrt.version}.kernels"
            self._config = engine.create_runtime_config()
            self._config.set_execution_context_allocation_strategy(by_user)
            self._config.dynamic_shapes_kernel_specialization_strategy = (
                self._api.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            self._kernels = self._config.create_runtime_cache()
            if self._file.is_file():
                self._kernels.deserialize(self._file.read_bytes())
            self._config.set_runtime_cache(self._kernels)
        self._strategy = by_user

    def context(self) -> Any:
        """Creates an execution context; the caller provides its scratch memory."""
        made = self._engine.create_execution_context(self._config or self._strategy)
        if made is None:
            raise CudaOutOfMemory("TensorRT could not create an execution context")
        return made

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch memory that a context needs for the largest batch."""
        return int(self._engine.device_memory_size_v2)

    def keep_kernels(self) -> None:
        """Stores the compiled kernels on disk."""
        if self._kernels is not None:
            store(self._file, bytes(self._kernels.serialize()))


class _Slot:
    """A batch in flight."""

    def __init__(self, engine: TensorRtEngine, plan: _Plan) -> None:
        self._engine, self._cuda = engine, engine.cuda
        limit, (height, width), (rows, columns) = engine.max_batch, engine.size, engine.grid
        cuda = self._cuda
        self._frames = cuda.page_locked((limit, height, width, 3), np.uint8)
        self.score = cuda.page_locked((limit,), np.float32)
        self.heatmap = cuda.page_locked((limit, rows, columns), np.float32)
        self._input, self._score, self._heatmap = (
            cuda.allocate(array.nbytes) for array in (self._frames, self.score, self.heatmap)
        )
        self._scratch = cuda.allocate(max(1, plan.scratch_bytes))
        self._stream, self._done = cuda.stream(), cuda.event()
        self._contexts = [self._context(plan, count) for count in range(1, limit + 1)]
        self._launches = [self._capture(count) for count in range(1, limit + 1)]

    def start(self, frames: Frames) -> None:
        self._count = len(frames)
        np.copyto(self._frames[: self._count], frames)
        self._launches[self._count - 1]()
        self._cuda.record(self._done, self._stream)

    def finish(self) -> Scores:
        with self._cuda.current():
            self._cuda.wait(self._done)
        return self._engine.wrap(self, self._count)

    def _context(self, plan: _Plan, count: int) -> Any:
        context = plan.context()
        context.set_device_memory(self._scratch, max(1, plan.scratch_bytes))
        if not context.set_input_shape("frames", (count, *self._engine.size, 3)):
            raise EngineError(f"the TensorRT plan does not take a batch of {count}")
        for name, address in (("frames", self._input), ("score", self._score), ("heatmap", self._heatmap)):
            context.set_tensor_address(name, address)
        return context

    def _capture(self, count: int) -> Any:
        def enqueue() -> None:
            self._enqueue(count)

        # Run twice before capturing: the first run loads kernels and sets shapes, which a capture must not do.
        enqueue()
        enqueue()
        self._cuda.synchronise(self._stream)
        if not self._capturable(self._contexts[count - 1]):
            return enqueue
        return self._cuda.capture(self._stream, enqueue)

    def _capturable(self, context: Any) -> bool:
        # Only TensorRT for RTX has models that cannot be captured, and this method to ask.
        ask = getattr(context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._stream))

    def _enqueue(self, count: int) -> None:
        self._cuda.copy_in(self._input, self._frames[:count], self._stream)
        if not self._contexts[count - 1].execute_async_v3(self._stream):
            raise EngineError("TensorRT could not start a batch; see its log")
        self._cuda.copy_out(self.score[:count], self._score, self._stream)
        self._cuda.copy_out(self.heatmap[:count], self._heatmap, self._stream)
