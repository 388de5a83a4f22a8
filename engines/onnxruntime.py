"""ONNX Runtime: float32 on any CPU, float16 on NVIDIA GPUs through its CUDA or TensorRT provider."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from engines.bundle import MODEL_F16, MODEL_F32, Bundle
from engines.cache import cache_folder
from engines.engine import EXACT, EngineSettings, Frames, Scores
from engines.errors import EngineUnavailable
from engines.extras import require
from engines.foreign import translated
from engines.jobs import Slot
from engines.slot_engine import BlockingSlot, SlotEngine

_PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class OnnxRuntimeEngine(SlotEngine):
    """Runs the bundle's ONNX models. On a GPU, inputs and outputs are bound to memory that is allocated once."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        super().__init__(bundle, settings)
        ort = _import()
        model = bundle.file(MODEL_F16 if self.precision == "f16" else MODEL_F32)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Left to itself, it takes every core of the machine, those that this process may not use included.
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        # Its own exceptions share no base class.
        with translated(f"ONNX Runtime cannot load {model} on {self.device}"):
            self._session = ort.InferenceSession(str(model), options, providers=self._providers())
        if _PROVIDERS[self.device] not in self._session.get_providers():
            raise EngineUnavailable(
                f"ONNX Runtime found no usable {_PROVIDERS[self.device]} (is the NVIDIA driver installed, and are CUDA "
                "and cuDNN the versions it was built for?); give another --device"
            )
        self.device_name = f"ONNX Runtime {ort.__version__}, {_PROVIDERS[self.device]}"
        if self.device == "cpu":
            slots: list[Slot] = [BlockingSlot(self.run) for _ in range(self.jobs)]
        else:
            slots = [_CudaSlot(self, ort, bundle.manifest.heatmap.grid) for _ in range(self.jobs)]
        self._open_slots(slots)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """Lists `cpu`, and before it `cuda` and `tensorrt` if this build of ONNX Runtime has them."""
        ort = _import()
        available = ort.get_available_providers()
        found = [name for name, provider in _PROVIDERS.items() if provider in available]
        return tuple(sorted(found, key=("cuda", "tensorrt", "cpu").index))

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Lists `f16` first on a GPU, then `f32`."""
        return (EXACT,) if device == "cpu" else ("f16", EXACT)

    def run(self, frames: Frames) -> Scores:
        """Scores a batch in the calling thread, on the CPU."""
        score, heatmap = self._session.run(["score", "heatmap"], {"frames": frames})
        return self._scores(score, heatmap)

    def run_bound(self, binding: Any) -> Scores:
        """Scores a batch whose input and outputs are bound to GPU memory."""
        self._session.run_with_iobinding(binding)
        score, heatmap = binding.copy_outputs_to_cpu()
        return self._scores(score, heatmap)

    def bind(self) -> Any:
        """Returns a new binding of inputs and outputs."""
        return self._session.io_binding()

    def _providers(self) -> list[Any]:
        cuda = (_PROVIDERS["cuda"], {"use_tf32": "0", "do_copy_in_default_stream": "0"})
        if self.device == "cuda":
            return [cuda]
        if self.device == "tensorrt":
            folder = str(cache_folder("onnxruntime-tensorrt"))
            # The ONNX file sets the precisions. Plans and kernel timings are kept on disk.
            kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder,
                    "trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}  # fmt: skip
            return [(_PROVIDERS["tensorrt"], kept), cuda]
        return [_PROVIDERS["cpu"]]

    def _close(self) -> None:
        super()._close()
        del self._session


class _CudaSlot:
    """A batch on the GPU: its memory is allocated once, and every batch size is bound to it once."""

    def __init__(self, engine: OnnxRuntimeEngine, ort: Any, grid: tuple[int, int]) -> None:
        self._engine = engine
        self._inputs, self._bindings = [], []
        for count in range(1, engine.max_batch + 1):
            value = ort.OrtValue.ortvalue_from_shape_and_type((count, *engine.size, 3), np.uint8, "cuda", 0)
            binding = engine.bind()
            binding.bind_ortvalue_input("frames", value)
            for name, shape in (("score", (count,)), ("heatmap", (count, *grid))):
                output = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, "cuda", 0)
                binding.bind_ortvalue_output(name, output)
            self._inputs.append(value)
            self._bindings.append(binding)

    def start(self, frames: Frames) -> None:
        self._count = len(frames)
        self._inputs[self._count - 1].update_inplace(frames)

    def finish(self) -> Scores:
        return self._engine.run_bound(self._bindings[self._count - 1])


def _import() -> Any:
    return require("onnxruntime", "onnxruntime", EngineUnavailable)
