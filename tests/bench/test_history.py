"""The measurement of history: every question, on a journal that it makes itself."""

from __future__ import annotations

import json

import pytest

from tests.conftest import RunTaktline


def test_it_asks_every_question(taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("bench", "history", "--verdicts", 3000, "--runs", 1, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["verdicts"] == 3000
    assert 200 < result["bytes_each"] < 1200
    found = {question["question"]: question["found"] for question in result["questions"]}
    assert len(found) == 15
    assert found["all"] == found["one camera"] == found["ng"] == found["labelled"] == 50
    assert (found["a part, long ago"], found["corrupt (none)"], found["ng without a label"]) == (1, 0, 0)
    for question in result["questions"]:
        assert question["first_ms"] > 0 and question["count_ms"] > 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--folder", "/nowhere", "cannot be written"), ("--verdicts", "1" + "0" * 30, "at most 20000000 verdicts")],
)
def test_what_it_cannot_do_is_told(option: str, value: str, message: str, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("bench", "history", option, value)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
