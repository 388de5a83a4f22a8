"""PyTorch: the float32 reference everywhere, and float16 on CUDA for machines without TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.bundle import NETWORK, Bundle
from engines.engine import EXACT, EngineSettings, Frames, Scores
from engines.errors import BundleError, EngineUnavailable
from engines.extras import require
from engines.jobs import Slot
from engines.slot_engine import BlockingSlot, SlotEngine

if TYPE_CHECKING:
    import torch

    from engines.network import InspectionNetwork


class TorchEngine(SlotEngine):
    """Runs the bundle's `network.safetensors`: on CUDA if there is a GPU, otherwise on the CPU."""

    name = "torch"

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        super().__init__(bundle, settings)
        torch = _import()
        target = torch.device(self.device)
        self.network = _load(bundle, self.precision).to(target).to(memory_format=torch.channels_last)
        slots: list[Slot] = []
        if self.device == "cpu":
            slots = [BlockingSlot(self._run) for _ in range(self.jobs)]
        else:
            self.device_name = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
            slots = list(self._cuda_slots(torch))
        self._open_slots(slots)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """Lists `cuda` first if there is an NVIDIA GPU, and `cpu`."""
        return ("cuda", "cpu") if _import().cuda.is_available() else ("cpu",)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Lists `f16` first on CUDA, and `f32`, the reference for all others."""
        return (EXACT,) if device == "cpu" else ("f16", EXACT)

    def wrap(self, score: torch.Tensor, heatmap: torch.Tensor) -> Scores:
        """Turns the network's outputs on the CPU into scores with their own memory."""
        return self._scores(score.numpy().copy(), heatmap.numpy().copy())

    def _cuda_slots(self, torch: Any) -> list[_CudaSlot]:
        """Allocates everything, for batches half as large if the GPU's memory is too small."""
        while True:
            try:
                return [_CudaSlot(self, torch) for _ in range(self.jobs)]
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                self._halve_batch(error)

    def _run(self, frames: Frames) -> Scores:
        """Scores a batch in the calling thread, on the CPU."""
        import torch

        with torch.inference_mode():
            return self.wrap(*self.network(torch.from_numpy(frames)))

    def _close(self) -> None:
        super()._close()
        del self.network


class _CudaSlot:
    """A batch on the GPU: its own stream, page-locked buffers, and a CUDA graph for every batch size.

    A graph contains the copy in, the network and the copy out, so a batch needs a single launch.
    """

    def __init__(self, engine: TorchEngine, torch: Any) -> None:
        self._engine, self._torch = engine, torch
        limit, (height, width) = engine.max_batch, engine.size
        rows, columns = engine.network.config.grid
        self._stream = torch.cuda.Stream()
        self._done = torch.cuda.Event(blocking=True)
        self._frames = torch.empty((limit, height, width, 3), dtype=torch.uint8, pin_memory=True)
        self._on_gpu = torch.empty((limit, height, width, 3), dtype=torch.uint8, device="cuda")
        self._score = torch.empty(limit, pin_memory=True)
        self._heatmap = torch.empty((limit, rows, columns), pin_memory=True)
        self._graphs: list[Any] = []
        pool = None
        # Otherwise convolutions would use TensorFloat-32, and this could not be the reference.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False, benchmark=False):
            for count in range(limit, 0, -1):
                with torch.cuda.stream(self._stream):
                    for _ in range(3):
                        self._record(count)
                self._stream.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                    self._record(count)
                pool = graph.pool()
                self._graphs.insert(0, graph)

    def start(self, frames: Frames) -> None:
        self._count = len(frames)
        self._frames[: self._count].copy_(self._torch.from_numpy(frames))
        with self._torch.cuda.stream(self._stream):
            self._graphs[self._count - 1].replay()
            self._done.record(self._stream)

    def finish(self) -> Scores:
        self._done.synchronize()
        return self._engine.wrap(self._score[: self._count], self._heatmap[: self._count])

    def _record(self, count: int) -> None:
        self._on_gpu[:count].copy_(self._frames[:count], non_blocking=True)
        score, heatmap = self._engine.network(self._on_gpu[:count])
        self._score[:count].copy_(score, non_blocking=True)
        self._heatmap[:count].copy_(heatmap, non_blocking=True)


def _load(bundle: Bundle, precision: str) -> InspectionNetwork:
    import torch
    from safetensors.torch import load_file

    from engines.network import InspectionNetwork, NetworkConfig, lower_precision

    network = InspectionNetwork(NetworkConfig.from_json(bundle.manifest.network))
    try:
        network.load_state_dict(load_file(bundle.file(NETWORK)))
    except RuntimeError as error:
        raise BundleError(
            f"{bundle.file(NETWORK)} does not match the network of this Taktline; calibrate the bundle again"
        ) from error
    return (lower_precision(network, torch.float16) if precision == "f16" else network).eval()


def _import() -> Any:
    require("safetensors.torch", "calibrate", EngineUnavailable)
    return require("torch", "calibrate", EngineUnavailable)
