"""The wheel of this tree is whole: it installs into an empty environment and shows the product at work there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.programs import run_program

FLOORS = ("taktline", "bench", "pipeline", "calibration", "engines")
DATA = (".html", ".json", ".typed", ".js", ".css")


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Neither this checkout nor the user's site must help.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return run_program(*arguments, cwd=cwd, environment=environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git tracks or would track: the checkout stays as it is."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *FLOORS, "pyproject.toml", "README.md"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    built = run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--wheel-dir", out, source, cwd=out,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (found,) = out.glob("taktline-*.whl")
    return found


def test_it_holds_every_file_of_every_package(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*")
        if path.suffix in {".py", *DATA} and path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert {"taktline/py.typed", "pipeline/protocol/verdict.schema.json", "bench/report/templates/bench.html"} <= names


@pytest.mark.long(44)
def test_it_runs_the_demonstration_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Its own packages come from the wheel alone; those of others from the environment of the tests."""
    home = tmp_path / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", home, cwd=tmp_path).returncode == 0
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    installed = run(
        sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet", "--no-deps",
        "--no-index", "--disable-pip-version-check", wheel, cwd=tmp_path,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    # A path that is added by a .pth file brings packages, but no further .pth file: this checkout is not among them.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(home / "bin" / "python", "-c", "import taktline, bench; print(taktline.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(site)), where.stderr
    assert run(home / "bin" / "taktline", "--help", cwd=tmp_path).returncode == 0
    done = run(home / "bin" / "taktline", "demo", "--quick", "--backbone", "untrained", "--fps", 60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "16 parts, 16 verdicts received over ZeroMQ" in done.stdout
    assert (tmp_path / "runs" / "demo" / "index.html").is_file()
