"""Writes the network's files: ONNX graphs for all engines except torch, and the weights for torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir
import onnxscript.optimizer
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engines.bundle import MODEL_F16, MODEL_F32, NETWORK
from engines.network import InspectionNetwork, lower_precision

OPSET = 18


def write_network(network: InspectionNetwork, folder: Path) -> NetworkGraph:
    """Writes `model.onnx`, `model.fp16.onnx` and `network.safetensors` into a bundle's folder; returns the graph."""
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / NETWORK)
    graph = NetworkGraph(network)
    graph.save(folder)
    return graph


class NetworkGraph:
    """A network's ONNX graph, which takes `frames` and gives `score` and `heatmap`. Tracing it takes seconds.

    It is traced in float16, whose casts say where float32 begins. Float32's graph is the same without them.

    Args:
        network: the network.
    """

    def __init__(self, network: InspectionNetwork) -> None:
        self._network = network
        half = lower_precision(network, torch.float16)
        frames = torch.zeros(2, *network.config.size, 3, dtype=torch.uint8)
        # Without optimisation, each weight stays in the graph under its own name.
        self._half = _trace(half, frames, ("score", "heatmap"), optimize=False).model
        self._exact = _in_float32(self._half)

    def save(self, folder: Path) -> None:
        """Writes `model.onnx` and `model.fp16.onnx` into a bundle's folder."""
        ir.save(_optimised(self._half), folder / MODEL_F16)
        ir.save(_optimised(self._with_weights(self._network)), folder / MODEL_F32)

    def model(self, network: InspectionNetwork) -> bytes:
        """Returns the float32 graph with another network's weights, each under its name, as an ONNX file's contents."""
        contents: bytes = ir.to_proto(self._with_weights(network)).SerializeToString()
        return contents

    def _with_weights(self, network: InspectionNetwork) -> ir.Model:
        weights = network.state_dict()
        for name, value in self._exact.graph.initializers.items():
            value.const_value = ir.tensor(weights[name].numpy(), name=name)
        return self._exact


def export_onnx(module: nn.Module, size: tuple[int, int], path: Path, outputs: tuple[str, ...]) -> None:
    """Exports a module that takes uint8 frames `[N, H, W, 3]` to one ONNX file with a dynamic N.

    Args:
        module: the module, in evaluation mode.
        size: height and width of the frames.
        path: the file to write.
        outputs: names of the outputs.
    """
    frames = torch.zeros(2, *size, 3, dtype=torch.uint8)
    _trace(module, frames, outputs, optimize=True).save(path, external_data=False)


def _trace(module: nn.Module, frames: Tensor, outputs: tuple[str, ...], optimize: bool) -> torch.onnx.ONNXProgram:
    batch = torch.export.Dim("batch", min=1, max=4096)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (frames,),
            input_names=["frames"],
            output_names=list(outputs),
            dynamic_shapes={"frames": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            optimize=optimize,
            verbose=False,
        )
    assert program is not None
    return program


def _in_float32(half: ir.Model) -> ir.Model:
    """Returns a float16 graph as float32 has it: with other types, and without casts from one to the other."""
    model = _copy(half)
    for node in list(model.graph):
        given = node.outputs[0]
        if node.op_type == "Cast" and given.dtype == ir.DataType.FLOAT16:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT)
        elif node.op_type == "Cast" and node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT16:
            ir.convenience.replace_all_uses_with(given, node.inputs[0])
            model.graph.remove(node, safe=True)
    for value in (*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)):
        if value.dtype == ir.DataType.FLOAT16:
            value.dtype = ir.DataType.FLOAT
    return model


def _optimised(model: ir.Model) -> ir.Model:
    own = _copy(model)
    with _quiet():
        onnxscript.optimizer.optimize_ir(own)
    return own


def _copy(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


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
