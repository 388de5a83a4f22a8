"""A line that was given other bundles ends as well as one that was not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pipeline.line.deploys import deploy_and_end


def test_a_line_ends_in_order_after_deploys(bundle_path: Path, drawn: Path, tmp_path: Path) -> None:
    """Freeing an engine must not take away what the main thread's signal handler stands on."""
    code, out, err, seen = deploy_and_end(bundle_path, drawn / "test" / "good", tmp_path, [False, True, True])
    assert code == 0, err
    assert "Traceback" not in err
    assert json.loads(out)["frames"] == seen == 8
