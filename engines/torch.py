"""The reference engine: the network itself, run by PyTorch in float32."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any

from engines.bundle import NETWORK, Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import BundleError, EngineUnavailable, missing_package


class TorchEngine(Engine):
    """Runs the bundle's `network.safetensors`, on CUDA where there is a GPU, else on the CPU."""

    name = "torch"

    def __init__(self, bundle: Bundle, precision: str | None, max_batch: int) -> None:
        super().__init__(bundle, precision, max_batch)
        torch = _import()
        from safetensors.torch import load_file

        from engines.network import InspectionNetwork, NetworkConfig

        self._torch: Any = torch
        self._target = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.cuda.get_device_name() if self._target.type == "cuda" else "cpu"
        self._network = InspectionNetwork(NetworkConfig.from_json(bundle.manifest.network))
        try:
            self._network.load_state_dict(load_file(bundle.file(NETWORK)))
        except RuntimeError as error:
            raise BundleError(
                f"{bundle.file(NETWORK)} does not fit the network of this Taktline; calibrate the bundle again"
            ) from error
        self._network.eval().to(self._target).to(memory_format=torch.channels_last)
        self._places = threading.Semaphore(self.jobs)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine-torch")
        self.warm_up()

    @classmethod
    def precisions(cls) -> tuple[str, ...]:
        """Lists `f32`: it is the reference that the others are held against."""
        _import()
        return ("f32",)

    def _submit(self, frames: Frames) -> Future[Scores]:
        self._places.acquire()
        future = self._worker.submit(self._run, frames)
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _run(self, frames: Frames) -> Scores:
        torch = self._torch
        with torch.inference_mode():
            score, heatmap = self._network(torch.from_numpy(frames).to(self._target))
        return Scores(score.cpu().numpy(), heatmap.cpu().numpy())

    def _close(self) -> None:
        self._worker.shutdown(wait=True)


def _import() -> Any:
    try:
        import torch

        import_module("safetensors.torch")
    except ImportError as error:
        raise EngineUnavailable(missing_package(error.name or "torch", "calibrate")) from error
    return torch
