"""Writes the network's files: ONNX graphs for all engines except torch, and the weights for torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
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
    trace(module, {"frames": torch.zeros(2, *size, 3, dtype=torch.uint8)}, outputs).save(path, external_data=False)


def trace(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...], optimize: bool = True
) -> torch.onnx.ONNXProgram:
    """Turns a module into an ONNX graph with a dynamic N.

    Args:
        module: the module.
        inputs: what it takes, by name, N = 2 of each.
        outputs: names of the outputs.
        optimize: fold constants. Without, each weight stays in the graph under its own name.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: batch} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            optimize=optimize,
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _quiet() -> Iterator[None]:
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
