"""How a threshold is chosen: the options that `calibrate` and `threshold` share, and the sentence about the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engines.errors import ConfigError
from engines.threshold_rule import Rule

if TYPE_CHECKING:
    from engines.manifest import Threshold

RuleOption = Annotated[Rule | None, typer.Option(help="How to choose the threshold (default sigma).")]
ValueOption = Annotated[
    float | None,
    typer.Option(min=-1000, max=1000, help="Number of sigmas (default 2), or the false-alarm rate (default 0.01)."),
]
FalseAlarmsOption = Annotated[
    float | None, typer.Option(help="So many false alarms at most in 1000 good parts: the rule false-alarm-rate.")
]
MissCostsOption = Annotated[
    float | None, typer.Option(help="How many false alarms one missed defect costs: the rule cost.")
]
_MOST_FALSE_ALARMS = 500


def read_rule(
    rule: Rule | None, value: float | None, max_false_alarms: float | None, miss_costs: float | None
) -> tuple[Rule, float | None]:
    """Returns the rule that the options name, and its parameter.

    Raises:
        ConfigError: they contradict each other.
    """
    chosen: Rule = rule or "sigma"
    for option, given, own in (
        ("--max-false-alarms", max_false_alarms, "false-alarm-rate"),
        ("--miss-costs", miss_costs, "cost"),
    ):
        if given is None:
            continue
        if value is not None or rule not in (None, own) or None not in (max_false_alarms, miss_costs):
            raise ConfigError(f"{option} chooses the rule {own} and its value; give no other rule or value beside it")
        if own == "cost":
            return "cost", given
        if not 0 < given < _MOST_FALSE_ALARMS:
            raise ConfigError(
                f"--max-false-alarms is {given:g}; give a number in 1000 good parts, above 0 and below "
                f"{_MOST_FALSE_ALARMS}, such as 10"
            )
        return "false-alarm-rate", given / 1000
    if chosen == "cost" and value is not None:
        raise ConfigError("the rule cost takes no --value; give --miss-costs")
    return chosen, value


def threshold_sentence(threshold: Threshold) -> str:
    """Returns a sentence with a threshold and its expected false alarms, and its warning if there is one."""
    low, high = threshold.interval_per_1000
    text = (
        f"Threshold {threshold.value:.3f} sigma (rule {threshold.rule}): {threshold.false_alarms_per_1000:.1f} false "
        f"alarms expected in 1000 good parts, and between {low / 10:.0f} and {high / 10:.0f} in the next 100 (99 %), "
        f"from {threshold.samples} held-out good parts."
    )
    tail = threshold.tail
    if tail is not None:
        low, high = tail.interval_per_1000
        text += f" In the long run, {low:.1f} to {high:.1f} in 1000 (95 %)"
        if tail.value_interval is not None:
            text += (
                f"; the threshold that gives the wanted rate lies between {tail.value_interval[0]:.2f} and "
                f"{tail.value_interval[1]:.2f} sigma"
            )
        text += f". This follows from the tail of the highest {tail.parts}."
    return f"{text} [yellow]Warning: {threshold.warning}.[/]" if threshold.warning else text
