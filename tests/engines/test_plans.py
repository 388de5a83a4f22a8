"""TensorRT plans, built for real without a GPU; and that every name the engine uses is in the installed module."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import cuda_python, plans, tensorrt
from engines.bundle import Bundle
from engines.cuda import CudaOutOfMemory
from engines.errors import ConfigError, EngineUnavailable
from engines.open_cuda import open_cuda
from engines.plans import TensorRt, build_ahead, build_plan, find_tensorrt, parse_network, plan_path

CAPABILITIES = ["7.5", "8.0", "8.6", "8.9", "12.0"]


@pytest.fixture
def plans_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAKTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rtx() -> TensorRt:
    try:
        found = find_tensorrt()
    except EngineUnavailable as error:
        pytest.skip(str(error))
    if not found.for_any_gpu:
        pytest.skip(f"{found.flavour} builds only where the GPU is; install it with: pip install 'taktline[rtx]'")
    return found


@pytest.mark.parametrize("precision", ["f16", "f32"])
def test_the_network_is_what_the_contract_says(bundle: Bundle, rtx: TensorRt, precision: str) -> None:
    api = rtx.api
    logger = api.Logger(api.ILogger.ERROR)
    builder = api.Builder(logger)
    network = parse_network(bundle, rtx, builder, precision, logger)
    assert network.get_flag(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    frames = network.get_input(0)
    assert (network.num_inputs, frames.name, frames.dtype) == (1, "frames", api.DataType.UINT8)
    assert tuple(frames.shape) == (-1, *bundle.size, 3)
    outputs = {network.get_output(index).name: network.get_output(index) for index in range(network.num_outputs)}
    assert set(outputs) == {"score", "heatmap"}
    assert tuple(outputs["score"].shape) == (-1,)
    assert tuple(outputs["heatmap"].shape) == (-1, *bundle.manifest.heatmap.grid)
    assert all(output.dtype == api.DataType.FLOAT for output in outputs.values())
    kinds = [
        network.get_layer(index).get_output(0).dtype
        for index in range(network.num_layers)
        if network.get_layer(index).type == api.LayerType.CONVOLUTION
    ]
    # All but the prediction of what error is usual compute in float16, which is what makes it fast.
    expected = api.DataType.HALF if precision == "f16" else api.DataType.FLOAT
    assert len(kinds) > 40
    assert all(kind == expected for kind in kinds)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_plan_is_built_for_a_gpu_that_is_not_here(
    bundle: Bundle, rtx: TensorRt, plans_folder: Path, capability: str
) -> None:
    phases: list[tuple[str, int, int]] = []
    path = build_ahead(bundle, "f16", 8, capability, lambda *step: phases.append(step))
    assert path.is_relative_to(plans_folder)
    assert f"sm{capability.replace('.', '')}" in path.name
    assert bundle.manifest.files["model.fp16.onnx"][:16] in path.name
    assert rtx.version in path.name
    assert path.stat().st_size > 10_000_000
    assert phases
    assert phases[-1][1] == phases[-1][2]
    assert list(path.parent.iterdir()) == [path]


def test_a_plan_in_float32_is_larger_and_lies_beside(bundle: Bundle, rtx: TensorRt, plans_folder: Path) -> None:
    half, full = (build_ahead(bundle, precision, 2, "8.9") for precision in ("f16", "f32"))
    assert half != full
    assert full.stat().st_size > 1.4 * half.stat().st_size
    assert half.is_relative_to(plans_folder)


def test_the_profile_reaches_from_one_frame_to_the_largest_batch(bundle: Bundle, rtx: TensorRt) -> None:
    builder = rtx.api.Builder(rtx.api.Logger(rtx.api.ILogger.ERROR))
    shapes = plans._profile(builder, bundle.size, 6).get_shape("frames")
    assert [tuple(shape) for shape in shapes] == [(count, *bundle.size, 3) for count in (1, 3, 6)]


def test_anything_that_a_plan_depends_on_is_in_its_name(bundle: Bundle, rtx: TensorRt, plans_folder: Path) -> None:
    tuned = TensorRt(object_with_no_capabilities(), "tensorrt", "10.9.0")
    names = {
        plan_path(bundle, *rest)
        for rest in [
            (rtx, "f16", 8, (8, 9), "L4"),
            (rtx, "f32", 8, (8, 9), "L4"),
            (rtx, "f16", 16, (8, 9), "L4"),
            (rtx, "f16", 8, (8, 6), "L4"),
            (tuned, "f16", 8, (8, 9), "L4"),
            (tuned, "f16", 8, (8, 9), "RTX 4090"),
            (TensorRt(tuned.api, "tensorrt", "10.9.1"), "f16", 8, (8, 9), "L4"),
        ]
    }
    assert len(names) == 7
    assert plan_path(bundle, rtx, "f16", 8, (8, 9), "L4") == plan_path(bundle, rtx, "f16", 8, (8, 9), "RTX 4090")
    assert plans_folder.is_dir()


def object_with_no_capabilities() -> Any:
    class Api:
        class IBuilderConfig:
            pass

    return Api


def test_what_cannot_be_built_is_said_in_words(bundle: Bundle, rtx: TensorRt, plans_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not know compute capability 9\.0; it knows 7\.5, 8\.0"):
        build_plan(bundle, rtx, "f16", 8, (9, 0))
    with pytest.raises(ConfigError, match="'nine' is not a compute capability"):
        build_ahead(bundle, "f16", 8, "nine")
    with pytest.raises(ConfigError, match="f16 and f32, not bf16"):
        build_ahead(bundle, "bf16", 8, "8.9")
    assert not list(plans_folder.rglob("*.plan"))


def test_the_command_builds_and_says_where(bundle_path: Path, rtx: TensorRt, plans_folder: Path, taktline: Any) -> None:
    done = taktline("build", bundle_path, "--compute-capability", "8.6", "--max-batch", 4)
    assert done.returncode == 0, done.stderr
    (plan,) = plans_folder.rglob("*.plan")
    assert str(plan) in done.stdout
    refused = taktline("build", bundle_path, "--compute-capability", "9.0")
    assert refused.returncode == 2
    assert "does not know compute capability 9.0" in refused.stderr
    assert "Traceback" not in refused.stderr


def api_names(module: Any, root: str) -> Iterator[str]:
    """Yields every dotted name that a module's source reads from a variable that ends in `root`."""
    assert module.__file__ is not None
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        names: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        start = inner.id if isinstance(inner, ast.Name) else ""
        for index, name in enumerate([start, *names]):
            if name in {root, f"_{root}"} and names[index:]:
                yield ".".join(names[index:])


def test_every_name_of_tensorrt_that_is_used_exists(rtx: TensorRt) -> None:
    used = {*api_names(plans, "api"), *api_names(tensorrt, "api")} - {"__version__"}
    assert len(used) > 10
    for dotted in sorted(used):
        found = rtx.api
        for name in dotted.split("."):
            assert hasattr(found, name), f"{rtx.flavour} {rtx.version} has no {dotted}"
            found = getattr(found, name)
    methods = {
        "Builder": ("create_network", "create_builder_config", "create_optimization_profile",
                    "build_serialized_network"),
        "IBuilderConfig": ("clear_flag", "set_flag", "num_compute_capabilities", "set_compute_capability",
                           "add_optimization_profile", "progress_monitor", "create_timing_cache", "set_timing_cache",
                           "get_timing_cache"),
        "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
        "IOptimizationProfile": ("set_shape",),
        "Runtime": ("deserialize_cuda_engine",),
        "ICudaEngine": ("create_runtime_config", "create_execution_context", "device_memory_size_v2"),
        "IRuntimeConfig": ("set_execution_context_allocation_strategy", "create_runtime_cache", "set_runtime_cache",
                           "dynamic_shapes_kernel_specialization_strategy"),
        "IRuntimeCache": ("serialize", "deserialize"),
        "IExecutionContext": ("set_device_memory", "set_input_shape", "set_tensor_address", "execute_async_v3",
                              "is_stream_capturable"),
    }  # fmt: skip
    for kind, names in methods.items():
        for name in names:
            assert hasattr(getattr(rtx.api, kind), name), f"{kind} has no {name}"


def test_every_name_of_cuda_python_that_is_used_exists() -> None:
    runtime = importlib.import_module("cuda.bindings.runtime")
    used = {*api_names(cuda_python, "runtime")}
    assert len(used) > 20
    for dotted in sorted(used):
        found = runtime
        for name in dotted.split("."):
            assert hasattr(found, name), f"cuda.bindings.runtime has no {dotted}"
            found = getattr(found, name)


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="there is an NVIDIA GPU")
def test_no_gpu_is_said_in_a_sentence() -> None:
    with pytest.raises(EngineUnavailable, match=r"use another engine$") as refused:
        open_cuda()
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(not any(Path("/dev").glob("nvidia[0-9]*")), reason="needs an NVIDIA GPU")
def test_memory_streams_events_and_graphs_on_a_real_gpu() -> None:
    with open_cuda() as gpu, gpu.current():
        source, target = (gpu.page_locked((64, 3), np.float32) for _ in range(2))
        source[:] = np.arange(192).reshape(64, 3)
        address, stream, event = gpu.allocate(source.nbytes), gpu.stream(), gpu.event()

        def there_and_back() -> None:
            gpu.copy_in(address, source, stream)
            gpu.copy_out(target, address, stream)

        launch = gpu.capture(stream, there_and_back)
        for factor in (1, 2):
            source *= factor
            launch()
            gpu.record(event, stream)
            gpu.wait(event)
            np.testing.assert_array_equal(source, target)
        with pytest.raises(CudaOutOfMemory):
            gpu.allocate(1 << 46)
