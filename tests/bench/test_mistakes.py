"""Mistakes on the command line of the bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunTaktline


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("engine", ("--engines", "abacus"), "no engine 'abacus'"),
        ("engine", ("--precisions", "f8"), "offers f8 here"),
        ("engine", ("--batch-sizes", "many"), "--batch-sizes is 'many'"),
        ("engine", ("--batch-sizes", "0"), "numbers above 0"),
        ("engine", ("--json", "/none/such/file.json"), "no writable folder"),
        ("engine", ("--bundle", "/none/such/bundle"), "no model bundle"),
        ("line", ("--arrivals", "none.csv"), "none.csv cannot be read"),
        ("line", ("--arrivals", "none.csv", "--rates", "5"), "has its own rate"),
        ("line", ("--rates", "5", "--find-limit"), "either --rates or --find-limit"),
        ("line", ("--rates", "fast"), "--rates is 'fast'"),
        ("line", ("--rates", "2", "--data", "/nowhere"), "there is no folder /nowhere"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    bundle_path: Path, taktline_in_process: RunTaktline, command: str, arguments: tuple[str, ...], words: str
) -> None:
    done = taktline_in_process("bench", command, "--bundle", bundle_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
