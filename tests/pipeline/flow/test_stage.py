"""A stage stumbles so many times an hour, and never ends without a word."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.flow.channel import ChannelClosed
from pipeline.flow.restarts import RestartBudget
from pipeline.flow.stage import Stage
from tests.pipeline.flow.clocks import HandClock


def test_what_was_spent_comes_back_after_an_hour() -> None:
    clock = HandClock()
    budget = RestartBudget(3, clock=clock)
    # Every 25 minutes for a day: never more than three in an hour.
    for _ in range(60):
        assert budget.spend()
        clock.pass_s(25 * 60)
    clock.pass_s(3600)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    clock.pass_s(3599)
    assert not budget.spend()
    clock.pass_s(1)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


class Stumbling(Stage):
    """Raises what it is told, one error a run, with a pause before each on a clock moved by hand."""

    restarts = 2

    def __init__(self, errors: Sequence[BaseException], pause_s: float) -> None:
        self.clock = HandClock()
        super().__init__("stumbling", self.clock)
        self.errors, self.pause_s, self.runs, self.closed = list(errors), pause_s, 0, False

    def work(self) -> None:
        self.runs += 1
        self.clock.pass_s(self.pause_s)
        if self.errors:
            raise self.errors.pop(0)

    def ended(self) -> None:
        self.closed = True


def run(stage: Stumbling) -> list[BaseException]:
    failures: list[BaseException] = []
    stage.start(lambda name, error: failures.append(error))
    assert stage.join(10)
    assert stage.closed
    return failures


def test_a_stage_that_stumbles_now_and_then_goes_on_for_ever() -> None:
    stage = Stumbling([ZeroDivisionError() for _ in range(50)], pause_s=1801)
    assert run(stage) == []
    assert stage.runs == 51


def test_a_stage_that_stumbles_too_often_reports_it_and_ends() -> None:
    stage = Stumbling([ZeroDivisionError() for _ in range(50)], pause_s=1)
    (failure,) = run(stage)
    assert isinstance(failure, ZeroDivisionError)
    assert stage.runs == 3


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_library_that_ends_the_thread_is_reported(error: BaseException) -> None:
    """`sys.exit` in a thread ends that thread and nothing else: the line would seem to have ended in order."""
    assert run(Stumbling([error], pause_s=1)) == [error]


def test_a_closed_inbox_ends_it_in_order() -> None:
    assert run(Stumbling([ChannelClosed()], pause_s=1)) == []
