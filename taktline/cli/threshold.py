"""`taktline threshold`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.errors import ConfigError
from engines.threshold_rule import LABELLED_RULES
from taktline.cli.calibrate import need_evaluation_packages
from taktline.cli.console import show, show_json
from taktline.cli.options import BundleArgument, JsonFlag
from taktline.cli.rule import FalseAlarmsOption, MissCostsOption, RuleOption, ValueOption, read_rule, threshold_sentence


def threshold(
    bundle: BundleArgument,
    rule: RuleOption = None,
    value: ValueOption = None,
    max_false_alarms: FalseAlarmsOption = None,
    miss_costs: MissCostsOption = None,
    data: Annotated[
        Path | None, typer.Option(help="For the rules f1 and cost: a data set with labelled test pictures.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose a new threshold for a bundle, without training.

    Example: taktline threshold runs/bottle --max-false-alarms 10
    """
    need_evaluation_packages()
    from calibration.dataset import open_test_split
    from calibration.decide import decide_threshold
    from engines.bundle import open_bundle

    chosen, parameter = read_rule(rule, value, max_false_alarms, miss_costs)
    if (chosen in LABELLED_RULES) != (data is not None):
        raise ConfigError(
            "the rules f1 and cost need --data with labelled test pictures; the other rules take no --data"
        )
    samples = open_test_split(data) if data is not None else ()
    found = decide_threshold(open_bundle(bundle), chosen, parameter, samples).manifest.threshold
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        show(threshold_sentence(found))
