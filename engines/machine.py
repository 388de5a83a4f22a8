"""What the speed of an engine depends on, found without loading any engine's library."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "openvino", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13",
)  # fmt: skip
_CPU_FIELDS = ("model name", "flags", "CPU implementer", "CPU part", "Features")
# From the driver for PCs, from Jetsons, and from the Windows subsystem for Linux.
_NVIDIA_DEVICES = ("nvidia[0-9]*", "nvidiactl", "nvhost-*gpu*", "nvmap", "dxg")


def describe_machine() -> dict[str, str | int]:
    """Returns the processor and its flags, the usable cores, the GPUs and their driver, and the engines' versions."""
    found: dict[str, str | int] = {"machine": platform.machine(), "cores": len(os.sched_getaffinity(0))}
    return found | _cpu() | _nvidia() | package_versions(_PACKAGES)


def has_nvidia_gpu() -> bool:
    """Returns whether there may be an NVIDIA GPU. False is certain, and saves the seconds it takes to ask CUDA."""
    return any(next(Path("/dev").glob(pattern), None) is not None for pattern in _NVIDIA_DEVICES)


def _cpu() -> dict[str, str | int]:
    # On some machines cores differ; the first stands for all, because only a difference between machines counts.
    first, _, _ = read_system_file(Path("/proc/cpuinfo")).partition("\n\n")
    lines = (line.partition(":") for line in first.splitlines())
    values = {name.strip(): value.strip() for name, _, value in lines}
    return {name: values[name] for name in _CPU_FIELDS if name in values}


def _nvidia() -> dict[str, str | int]:
    folder = Path("/proc/driver/nvidia")
    cards = (read_system_file(path) for path in sorted(folder.glob("gpus/*/information")))
    models = [line.partition(":")[2].strip() for card in cards for line in card.splitlines() if "Model" in line]
    driver = read_system_file(folder / "version").partition("\n")[0]
    return {name: value for name, value in (("gpus", ", ".join(models)), ("driver", driver)) if value}


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the version of each package that is installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_system_file(path: Path) -> str:
    """Returns the text of one of the kernel's files; empty if there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
