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
        ("engine", ("--bundle", "/none/such/bundle"), "not a model bundle"),
        ("engine", ("--batch-sizes", "0.4"), "whole numbers from 1 to 4096"),
        ("engine", ("--batch-sizes", "8,1e9"), "whole numbers from 1 to 4096"),
        ("line", ("--rates", "2", "--engine", "abacus"), "'model.engine' must be one of"),
        ("line", ("--rates", "2", "--seconds", "inf"), "Invalid value for '--seconds'"),
        ("line", ("--rates", "2", "--takt", "inf"), "Invalid value for '--takt'"),
        ("soak", ("--minutes", "inf"), "Invalid value for '--minutes'"),
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("delivery", "--count", "1" + "0" * 30), "one run holds at most 1000000 verdicts"),
        (("delivery", "--rate", "inf"), "one run holds at most 1000000 verdicts"),
        (("delivery", "--seconds", "1e6"), "one run holds at most 1000000 verdicts"),
        (("capture", "folder:tests", "--seconds", "inf"), "Invalid value for '--seconds'"),
    ],
)
def test_too_much_is_refused(taktline_in_process: RunTaktline, arguments: tuple[str, ...], words: str) -> None:
    done = taktline_in_process("bench", *arguments)
    assert done.returncode == 2
    assert words in done.stderr.replace("\n", " ")
