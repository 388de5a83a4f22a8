"""Writes the network's files: ONNX graphs for all engines except torch, and the weights for torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engines.bundle import MODEL_F16, MODEL_F32, NETWORK
from engines.network import InspectionNetwork, lower_precision

OPSET = 18


def write_network(network: InspectionNetwork, folder: Path) -> None:
    """Writes `model.onnx`, `model.fp16.onnx` and `network.safetensors` into a bundle's folder."""
    size = network.config.size
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / NETWORK)
    export_onnx(network, size, folder / MODEL_F32, ("score", "heatmap"))
    export_onnx(lower_precision(network, torch.float16), size, folder / MODEL_F16, ("score", "heatmap"))


def export_onnx(module: nn.Module, size: tuple[int, int], path: Path, outputs: tuple[str, ...]) -> None:
    """Exports a module that takes uint8 frames `[N, H, W, 3]` to one ONNX file with a dynamic N.

    Args:
        module: the module, in evaluation mode.
        size: height and width of the frames.
        path: the file to write.
        outputs: names of the outputs.
    """
    frames: Tensor = torch.zeros(2, *size, 3, dtype=torch.uint8)
    with quiet_export():
        torch.onnx.export(
            module.eval(),
            (frames,),
            path,
            input_names=["frames"],
            output_names=list(outputs),
            dynamic_shapes={"frames": {0: torch.export.Dim("batch", min=1, max=4096)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def quiet_export() -> Iterator[None]:
    """Silences the exporter's messages."""
    chatty = logging.getLogger("torch.onnx")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatty.setLevel(level)
