"""Orders to fifty lines with real control sockets; a worse bundle stops after the first and is brought back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engines.bundle import Bundle, open_bundle, update_manifest
from pipeline.config.lines_file import read_lines_file
from pipeline.fleet.bounds import Bounds
from pipeline.fleet.fleet import Fleet
from pipeline.fleet.rolling import Limits, RollOut
from tests.conftest import RunTaktline
from tests.peers.fleet import SimulatedLine, write_fleet
from tests.pipeline.parts import until
from tests.pipeline.publish.test_control import Running, played, settings

BOUNDS = Bounds(parts=150)
LINES = 50
FEW = 12


@pytest.fixture(scope="module")
def bundles(small_bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """A bundle, and another one for the same part."""
    other = Path(shutil.copytree(small_bundle_path, tmp_path_factory.mktemp("bundles") / "other"))
    changed = update_manifest(open_bundle(other), {"created_at": "1970-01-01T00:00:00+00:00"})
    return open_bundle(small_bundle_path), changed


@pytest.fixture
def count() -> int:
    return FEW


@pytest.fixture
def lines(count: int, bundles: tuple[Bundle, Bundle], tmp_path: Path) -> Iterator[list[SimulatedLine]]:
    with ExitStack() as stack:
        found = [
            stack.enter_context(SimulatedLine(f"press{number}", tmp_path, bundles[0])) for number in range(count)
        ]
        write_fleet(tmp_path / "fleet.toml", found)
        yield found
        for line in found:
            line.drain()


@pytest.fixture
def fleet(lines: list[SimulatedLine], tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(read_lines_file(tmp_path / "fleet.toml", "fleet file")) as fleet:
        yield fleet


def rolled(fleet: Fleet, bundle: Bundle, bounds: Bounds = BOUNDS, switch_s: float = 60.0) -> RollOut:
    return RollOut(fleet, bundle, bounds, limits=Limits(20.0, switch_s), ask_every_s=0.01)


def told(lines: list[SimulatedLine]) -> list[list[str]]:
    return [line.orders for line in lines if line.orders]


@pytest.mark.parametrize("count", [LINES])
def test_a_worse_bundle_stops_after_the_first_line_and_is_brought_back(
    lines: list[SimulatedLine], bundles: tuple[Bundle, Bundle], tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    old, new = bundles
    for line in lines:
        line._rejects = {new.short_id: 0.3}
        line.threshold = 2.75
    options = ("--fleet", tmp_path / "fleet.toml", "--json")
    done = taktline_in_process("fleet", "deploy", new.path, *options, "--rolling", "--parts", 200)
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert not result["deployed"]
    assert "press0" in result["why"] and "parts are ng" in result["why"]
    assert result["lines"]["press0"]["state"] == "brought back"
    assert {result["lines"][line.name]["state"] for line in lines[1:]} == {"as before"}
    assert told(lines) == [["deploy", "rollback", "threshold"]]
    assert {(line.bundles[-1].short_id, line.threshold) for line in lines} == {(old.short_id, 2.75)}


@pytest.mark.parametrize("count", [LINES])
def test_a_bundle_that_is_as_good_gets_to_all_lines_one_first_then_more(
    fleet: Fleet, lines: list[SimulatedLine], bundles: tuple[Bundle, Bundle]
) -> None:
    roll, most, waves = rolled(fleet, bundles[1]), 0, set[int]()

    def count(_: str) -> None:
        nonlocal most
        has = sum(line.bundles[-1] is not bundles[0] for line in lines)
        waves.add(sum(state.state == "new" for state in roll.states.values()))
        most = max(most, has)

    roll._told = count
    assert roll.run(threading.Event()) is None
    assert {state.state for state in roll.states.values()} == {"new"} and most == LINES
    assert {1, 3, 7, 15, 31, LINES} <= waves
    assert {line.bundles[-1].short_id for line in lines} == {bundles[1].short_id}
    assert told(lines) == [["deploy"]] * LINES
    # A second time there is nothing left to do.
    assert rolled(fleet, bundles[1]).run(threading.Event()) is None
    assert told(lines) == [["deploy"]] * LINES


@pytest.mark.parametrize("trouble", ["drifts", "late", "gone", "hung", "switched", "silent", "refuses"])
def test_whatever_goes_wrong_in_the_middle_all_lines_come_to_run_what_they_ran(
    trouble: str, fleet: Fleet, lines: list[SimulatedLine], bundles: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    old, new = bundles
    sixth, why = lines[5], "press5"
    roll = rolled(fleet, new, switch_s=4.0 if trouble == "hung" else 60.0)
    expected = "brought back"
    if trouble == "drifts":
        sixth.drifts, why = new.short_id, "darker by 18 %"
    elif trouble == "late":
        sixth.late, why = new.short_id, "parts are uninspected"
    elif trouble == "gone":
        # It answers no more once it has the new bundle.
        roll._told = lambda name: sixth.close() if roll.states[name].state == "watched" and name == sixth.name else None
        why, expected = "does not answer any more", "unknown"
    elif trouble == "hung":
        sixth.hangs.clear()
        # It switches after all, when nobody waits for that any more.
        roll._told = lambda name: sixth.hangs.set() if roll.states[sixth.name].state == "unknown" else None
        why = "did not answer within 4 s"
    elif trouble == "switched":
        someone = Path(shutil.copytree(new.path, tmp_path / "third"))
        third = update_manifest(open_bundle(someone), {"created_at": "1971-01-01T00:00:00+00:00"})

        def switch(name: str) -> None:
            if name == sixth.name and roll.states[name].state == "watched" and third not in sixth.bundles:
                sixth.bundles = [*sixth.bundles, third]

        roll._told, why, expected = switch, "runs another bundle", "left alone"
    elif trouble == "silent":
        roll = rolled(fleet, new, Bounds(parts=150, wait_s=3.0))
        sixth._step, why = 0, "only 0 of 150 parts have passed"
    else:
        sixth._obey = refuse  # type: ignore[method-assign]
        sixth._server._obey = refuse
        why, expected = "refused", "as before"
    said = roll.run(threading.Event())
    assert said is not None and "press5" in said and why in said
    states = {name: state.state for name, state in roll.states.items()}
    assert states.pop(sixth.name) == expected
    assert [states[line.name] for line in (*lines[:5], lines[6])] == ["brought back"] * 6
    assert {states[line.name] for line in lines[7:]} == {"as before"}
    assert {line.bundles[-1].short_id for line in lines if line is not sixth} == {old.short_id}
    if expected in ("brought back", "as before"):
        assert sixth.bundles[-1].short_id == old.short_id
    assert told(lines[7:]) == []


def refuse(order: object) -> dict[str, object]:
    from engines.errors import ConfigError

    if getattr(order, "do", "") != "status":
        raise ConfigError("no")
    return {
        "status": {"live": True, "ready": True, "bundle": "0", "threshold": 2.0, "places": {"bundle": "none"},
                   "cameras": {}}
    }  # fmt: skip


def test_a_line_that_is_missing_at_the_start_changes_nothing(
    fleet: Fleet, lines: list[SimulatedLine], bundles: tuple[Bundle, Bundle]
) -> None:
    lines[7].close()
    roll = rolled(fleet, bundles[1])
    said = roll.run(threading.Event())
    assert said is not None and "press7" in said and "no line takes orders" in said
    assert told(lines) == []
    lines[2]._server._obey = lambda order: {"status": {"bundle": "0", "live": True}}
    said = rolled(fleet, bundles[1]).run(threading.Event())
    assert said is not None and "its status has no cameras" in said
    assert told(lines) == []


def test_ctrl_c_brings_all_back(
    lines: list[SimulatedLine], bundles: tuple[Bundle, Bundle], tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    for line in lines:
        line._step = 0

    def interrupt() -> None:
        until(lambda: lines[0].bundles[-1].short_id == bundles[1].short_id)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    done = taktline_in_process("fleet", "deploy", bundles[1].path, "--fleet", tmp_path / "fleet.toml", "--rolling")
    thread.join()
    assert done.returncode == 1
    assert "interrupted" in done.stderr
    assert re.search(r"press0 +│ brought back", done.stdout)
    assert told(lines) == [["deploy", "rollback"]]


@pytest.mark.parametrize("count", [LINES])
def test_all_lines_are_told_side_by_side_and_one_that_hangs_holds_up_none(
    lines: list[SimulatedLine], bundles: tuple[Bundle, Bundle], tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    options = ("--fleet", tmp_path / "fleet.toml", "--json")
    done = taktline_in_process("fleet", "status", *options)
    assert done.returncode == 0, done.stderr
    assert {one["answer"] for one in json.loads(done.stdout).values()} == {"done"}
    done = taktline_in_process("fleet", "threshold", *options, "--line", "press3", "-0.5")
    assert done.returncode == 0, done.stderr
    assert [line.threshold for line in lines[2:5]][1] == -0.5 and lines[4].threshold > 0
    lines[7].hangs.clear()
    lines[8].close()
    done = taktline_in_process("fleet", "deploy", bundles[1].path, *options, "--limit", 8)
    assert done.returncode == 1
    answers = {name: one["answer"] for name, one in json.loads(done.stdout).items()}
    assert (answers.pop("press7"), answers.pop("press8")) == ("unknown", "not reached")
    assert set(answers.values()) == {"done"}
    lines[7].hangs.set()
    done = taktline_in_process("fleet", "rollback", *options[:2])
    assert done.returncode == 1 and "49 of 50 lines" in done.stdout
    assert {line.bundles[-1].short_id for line in lines if line is not lines[8]} == {bundles[0].short_id}


def test_a_real_line_rolls_out_and_is_watched(
    bundles: tuple[Bundle, Bundle], drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    config = settings(bundles[0].path, drawn)
    model = config.model.model_copy(update={"engine": "openvino"})
    with played(config.model_copy(update={"model": model})) as line:
        running = Running(line)
        running.more()
        (tmp_path / "fleet.toml").write_text(f'[[line]]\nname = "press4"\ncontrol = "{running.address}"\n')
        options = ("--fleet", tmp_path / "fleet.toml", "--rolling", "--parts", 30, "--ignore-drift", "--json")
        done = taktline_in_process("fleet", "deploy", bundles[1].path, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)["lines"]["press4"]
        assert (found["state"], found["bundle"]) == ("new", bundles[1].short_id) and found["passed"] >= 30
        running.close()


def test_a_fleet_file_is_checked(tmp_path: Path, taktline_in_process: RunTaktline) -> None:
    file = tmp_path / "fleet.toml"
    for text, message in (
        ('[[line]]\nname = "a"\ncontroll = "auto"\n', "did you mean 'control'"),
        ('[[line]]\nname = "a"\n[[line]]\nname = "a"\n', "two lines are called 'a'"),
        ('[[line]]\nname = "a"\ncontrol = "none"\nverdicts = "tcp://127.0.0.1:1"\n', "takes no orders"),
        ('[[line]]\nname = "a"\nkey = "a.key_secret"\n', "key and server_key together"),
        ('[[line]]\nname = "a"\n', "has no line 'b'; it has a"),
        ("line = 3", "line"),
        ("", "line"),
    ):
        file.write_text(text)
        chosen = ("--line", "b") if "'b'" in message else ()
        done = taktline_in_process("fleet", "status", "--fleet", file, *chosen)
        assert done.returncode == 2, text
        assert message in " ".join(done.stderr.split())
