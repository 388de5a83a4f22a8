"""The demonstration shows what it promises."""

from __future__ import annotations

import re
from pathlib import Path

from engines.bundle import open_bundle
from tests.conftest import RunTaktline


def test_it_tells_its_own_defects_from_its_good_parts(tmp_path: Path, taktline: RunTaktline) -> None:
    out = tmp_path / "demo"
    done = taktline("demo", "--out", out, "--backbone", "untrained", timeout=500)
    assert done.returncode == 0, done.stderr
    assert "90 parts, 90 verdicts received over ZeroMQ" in done.stdout
    figure = re.search(r"auroc (\d\.\d+)", done.stdout)
    assert figure is not None
    assert float(figure[1]) >= 0.9
    assert open_bundle(out / "bundle").manifest.backbone.source == "untrained"
    assert len(list((out / "overlays").glob("*.png"))) == 90
    page = (out / "index.html").read_text()
    pictures = re.findall(r'src="(.*?)"', page)
    assert len(pictures) == 90
    assert all((out / picture).is_file() for picture in pictures)
