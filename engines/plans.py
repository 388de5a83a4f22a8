"""TensorRT plans: built from a bundle's ONNX files and cached on disk, keyed by all they depend on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from engines.bundle import MODEL_F16, MODEL_F32, Bundle
from engines.cache import cache_folder, store
from engines.cuda import Capability
from engines.errors import ConfigError, EngineError, EngineUnavailable
from engines.foreign import first_line
from engines.open_cuda import open_cuda

log = logging.getLogger(__name__)

PRECISIONS = ("f16", "f32")
Progress = Callable[[str, int, int], None]

_MODULES = ("tensorrt", "tensorrt_rtx")
_OLDEST = 10


@dataclass(frozen=True)
class TensorRt:
    """The TensorRT that is installed: `tensorrt` or `tensorrt_rtx`, which share one interface.

    Attributes:
        api: the module.
        flavour: the module's name.
        version: the module's version.
    """

    api: Any
    flavour: str
    version: str

    @property
    def for_any_gpu(self) -> bool:
        """Whether it builds for a given compute capability, without that GPU."""
        return hasattr(self.api.IBuilderConfig, "set_compute_capability")


def find_tensorrt() -> TensorRt:
    """Finds TensorRT, otherwise TensorRT for RTX.

    Raises:
        EngineUnavailable: neither is installed, it is too old, or it does not load.
    """
    for name in _MODULES:
        try:
            api = import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:
            raise EngineUnavailable(f"{name} is installed but does not load ({first_line(error)})") from error
        version = str(api.__version__)
        if name == "tensorrt" and int(version.partition(".")[0]) < _OLDEST:
            raise EngineUnavailable(f"tensorrt {version} is too old; install {_OLDEST}.0 or later")
        return TensorRt(api, name, version)
    raise EngineUnavailable(
        "neither tensorrt nor tensorrt_rtx is installed; for an RTX GPU install it with: pip install 'taktline[rtx]', "
        "for others see docs/gpu.md"
    )


def open_plan(
    bundle: Bundle, precision: str, max_batch: int, capability: Capability, gpu: str, report: Progress | None = None
) -> bytes:
    """Returns the plan for a GPU from the cache, or builds it and stores it there.

    Args:
        bundle: the bundle.
        precision: `f16` or `f32`.
        max_batch: the largest batch of the optimisation profile.
        capability: the GPU's compute capability.
        gpu: the GPU's name; a plan of `tensorrt` is tuned for one kind of GPU.
        report: called with the progress of each phase.

    Raises:
        EngineUnavailable: TensorRT is not installed, or does not know this GPU.
        EngineError: the model cannot be built.
    """
    tensorrt = find_tensorrt()
    path = plan_path(bundle, tensorrt, precision, max_batch, capability, gpu)
    if path.is_file():
        return path.read_bytes()
    log.warning("building a TensorRT plan for %s (%s, up to %d frames); this can take minutes",
                gpu, precision, max_batch)  # fmt: skip
    plan = build_plan(bundle, tensorrt, precision, max_batch, capability, report)
    store(path, plan)
    return plan


def build_ahead(
    bundle: Bundle, precision: str, max_batch: int, capability: str | None, report: Progress | None = None
) -> Path:
    """Builds a plan for this machine's GPU or, with TensorRT for RTX, for any GPU, and stores it in the cache.

    Args:
        bundle: the bundle.
        precision: `f16` or `f32`.
        max_batch: the largest batch of the optimisation profile.
        capability: a compute capability such as `8.9`; None for that of this machine's GPU.
        report: called with the progress of each phase.

    Returns:
        The plan's file.

    Raises:
        EngineUnavailable: TensorRT is not installed, or it needs a GPU and there is none.
        ConfigError: this TensorRT does not build for that compute capability.
        EngineError: the model cannot be built.
    """
    tensorrt = find_tensorrt()
    wanted = None if capability is None else _parse_capability(capability)
    gpu = "any"
    if wanted is None or not tensorrt.for_any_gpu:
        with open_cuda() as cuda:
            gpu, here = cuda.device, cuda.capability
        if wanted not in {None, here}:
            raise ConfigError(
                f"{tensorrt.flavour} builds only for the GPU in this machine (compute capability {here[0]}.{here[1]}); "
                "leave --compute-capability out, or build on a machine with such a GPU"
            )
        wanted = here
    assert wanted is not None
    path = plan_path(bundle, tensorrt, precision, max_batch, wanted, gpu)
    store(path, build_plan(bundle, tensorrt, precision, max_batch, wanted, report))
    return path


def plan_path(
    bundle: Bundle, tensorrt: TensorRt, precision: str, max_batch: int, capability: Capability, gpu: str
) -> Path:
    """Returns where a plan is stored. The name contains everything the plan depends on, so no plan is ever stale."""
    model = bundle.manifest.files[_model_name(precision)]
    # A plan of tensorrt_rtx is for a compute capability; its kernels are compiled on the machine that runs it.
    tuned_for = "any" if tensorrt.for_any_gpu else hashlib.sha256(gpu.encode()).hexdigest()[:8]
    key = f"{model[:16]}-{tensorrt.flavour}-{tensorrt.version}-sm{capability[0]}{capability[1]}-{tuned_for}"
    return cache_folder("plans") / f"{key}-{precision}-{max_batch}.plan"


def forget_plan(bundle: Bundle, precision: str, max_batch: int, capability: Capability, gpu: str) -> None:
    """Removes a damaged plan."""
    plan_path(bundle, find_tensorrt(), precision, max_batch, capability, gpu).unlink(missing_ok=True)


def build_plan(
    bundle: Bundle,
    tensorrt: TensorRt,
    precision: str,
    max_batch: int,
    capability: Capability,
    report: Progress | None = None,
) -> bytes:
    """Builds a strongly typed plan with the ONNX file's precisions and one profile from 1 to `max_batch` frames.

    Args:
        bundle: the bundle.
        tensorrt: builds it.
        precision: `f16`: features and reconstruction in float16, errors and score in float32; `f32`: all in float32.
        max_batch: the largest batch.
        capability: the compute capability to build for; `tensorrt` builds only for this machine's GPU.
        report: called with the progress of each phase.

    Raises:
        ConfigError: this TensorRT does not know the compute capability.
        EngineError: the model cannot be built.
    """
    api = tensorrt.api
    logger = _logger(api)
    builder = api.Builder(logger)
    network = parse_network(bundle, tensorrt, builder, precision, logger)
    config = builder.create_builder_config()
    # With it, a float32 plan would convolve in TensorFloat-32 and could not serve as a reference.
    config.clear_flag(api.BuilderFlag.TF32)
    if hasattr(api.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        # TensorRT for RTX requires this before a stream can be captured.
        config.set_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if tensorrt.for_any_gpu:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_known_capability(tensorrt, capability), 0)
    config.add_optimization_profile(_profile(builder, bundle.size, max_batch))
    config.progress_monitor = _monitor(api, report)
    with _timed(tensorrt, config, capability):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{tensorrt.flavour} {tensorrt.version} cannot build this model: {logger.last_error}")
    return bytes(plan)


@contextmanager
def _timed(tensorrt: TensorRt, config: Any, capability: Capability) -> Iterator[None]:
    """Lets a build reuse the kernel timings of earlier builds and store its own. TensorRT for RTX has none."""
    if tensorrt.for_any_gpu:
        yield
        return
    path = cache_folder("plans") / f"{tensorrt.flavour}-{tensorrt.version}-sm{capability[0]}{capability[1]}.timing"
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    yield
    store(path, bytes(config.get_timing_cache().serialize()))


def parse_network(bundle: Bundle, tensorrt: TensorRt, builder: Any, precision: str, logger: Any) -> Any:
    """Reads a bundle's ONNX file into a strongly typed network.

    Raises:
        EngineError: the parser refuses it.
    """
    api = tensorrt.api
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, logger)
    model = bundle.file(_model_name(precision))
    if not parser.parse_from_file(str(model)):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise EngineError(f"{tensorrt.flavour} {tensorrt.version} cannot read {model}: {reasons}")
    return network


def _model_name(precision: str) -> str:
    if precision not in PRECISIONS:
        raise ConfigError(f"TensorRT runs {' and '.join(PRECISIONS)}, not {precision}")
    return MODEL_F16 if precision == "f16" else MODEL_F32


def _parse_capability(text: str) -> Capability:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise ConfigError(f"'{text}' is not a compute capability; give it as major.minor, such as 8.9")
    return int(major), int(minor)


def _known_capability(tensorrt: TensorRt, capability: Capability) -> Any:
    kinds = tensorrt.api.ComputeCapability
    found = getattr(kinds, f"SM{capability[0]}{capability[1]}", None)
    if found is None:
        known = sorted(int(name[2:]) for name in dir(kinds) if name.startswith("SM"))
        raise ConfigError(
            f"{tensorrt.flavour} {tensorrt.version} does not know compute capability {capability[0]}.{capability[1]}; "
            f"it knows {', '.join(f'{value // 10}.{value % 10}' for value in known)}"
        )
    return found


def _profile(builder: Any, size: tuple[int, int], max_batch: int) -> Any:
    profile = builder.create_optimization_profile()
    shapes = [(count, *size, 3) for count in (1, max(1, max_batch // 2), max_batch)]
    profile.set_shape("frames", *shapes)
    return profile


def _logger(api: Any) -> Any:
    """Logs TensorRT's messages, and remembers the last error for our own."""

    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.last_error = "it gives no reason"

        def log(self, severity: Any, message: str) -> None:
            if severity in (api.ILogger.INTERNAL_ERROR, api.ILogger.ERROR):
                self.last_error = message
                log.error("TensorRT: %s", message)
            elif severity == api.ILogger.WARNING:
                log.info("TensorRT: %s", message)

    return Logger()


def _monitor(api: Any, report: Progress | None) -> Any:
    """Reports the progress of a build: only that of the outermost phases, since phases are nested."""

    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if report is not None and phase_name in self.steps:
                report(phase_name, step + 1, self.steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name, None)
            if report is not None and steps is not None:
                report(phase_name, steps, steps)

    return Monitor()
