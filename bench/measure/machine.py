"""Describes the machine of a measurement: a figure without its machine means nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from pydantic import BaseModel

from engines.machine import package_versions, read_system_file

_FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "asimd", "sve")
_FLAG_FAMILIES = ("avx512", "avx_", "amx")
_PACKAGES = (
    "taktline", "openvino", "onnxruntime", "torch", "tensorrt", "tensorrt-rtx-cu13", "numpy", "opencv-python-headless",
    "pyzmq", "hdrhistogram",
)  # fmt: skip
_CPU = Path("/sys/devices/system/cpu")


class Machine(BaseModel):
    """The machine, as far as speed depends on it.

    Attributes:
        cpu: the processor's name.
        cores: number of cores that this process may use.
        flags: instruction sets that matter to inference.
        cache_bytes: size of the largest cache.
        memory_bytes: memory of the whole machine.
        governor: the clock's governor, if Linux reports it.
        load: average number of running processes in the minute before; more than 0.2 disturbs.
        gpus: names and drivers, as `nvidia-smi` lists them.
        system: kernel and Python.
        packages: versions of the packages that do the work.
        commit: of Taktline's source, with `+` if it was changed since; None if there is no repository.
    """

    cpu: str
    cores: int
    flags: tuple[str, ...]
    cache_bytes: int
    memory_bytes: int
    governor: str | None
    load: float
    gpus: tuple[str, ...]
    system: str
    packages: dict[str, str]
    commit: str | None

    @property
    def sentence(self) -> str:
        """The machine in one line."""
        wide = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in self.flags), "")
        gpus = "".join(f", {gpu}" for gpu in self.gpus)
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.cores} cores of {self.cpu} ({wide or 'no wide vectors'}), {memory}{gpus}"


def look_at_machine() -> Machine:
    """Describes this machine."""
    info = _cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        flags=tuple(sorted(flag for flag in flags if flag in _FLAGS or flag.startswith(_FLAG_FAMILIES))),
        cache_bytes=largest_cache(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        governor=read_system_file(_CPU / "cpu0/cpufreq/scaling_governor").strip() or None,
        load=round(os.getloadavg()[0], 2),
        gpus=_gpus(),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        packages=package_versions(_PACKAGES),
        commit=_commit(),
    )


def largest_cache() -> int:
    """Returns the size of the processor's largest cache in bytes; 32 MiB if Linux does not report it."""
    sizes = [read_system_file(path).strip() for path in _CPU.glob("cpu0/cache/index*/size")]
    units = {"K": 2**10, "M": 2**20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size and size[-1] in units), default=32 << 20)


def peak_memory_mb(pid: int) -> float:
    """Returns the peak resident memory of a process in MiB."""
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = read_system_file(Path(f"/proc/{pid}/status"))
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _cpu_info() -> dict[str, str]:
    info: dict[str, str] = {}
    for line in read_system_file(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info


def _run(*command: str, cwd: Path | None = None) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gpus() -> tuple[str, ...]:
    listed = _run("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return tuple(listed.splitlines()) if listed else ()


def _commit() -> str | None:
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    commit = _run("git", "rev-parse", "--short=12", "HEAD", cwd=source)
    changed = _run("git", "status", "--porcelain", "--untracked-files=no", cwd=source)
    return None if commit is None else commit + ("+" if changed else "")
