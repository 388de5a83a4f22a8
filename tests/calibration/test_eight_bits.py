"""When calibration makes an 8-bit model unasked."""

from __future__ import annotations

import pytest

from calibration import eight_bits
from calibration.backbone import LoadedBackbone
from calibration.eight_bits import LEAST_PARTS, worth_8_bits
from engines.errors import TaktlineError
from engines.resnet import Backbone


def missing() -> None:
    raise TaktlineError("the package 'nncf' is not installed")


def test_unasked_it_is_made_where_it_can_be_and_can_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    known, random = (LoadedBackbone(Backbone("resnet18"), "x", "0", pretrained=right) for right in (True, False))
    assert worth_8_bits(known, LEAST_PARTS)
    assert not worth_8_bits(known, LEAST_PARTS - 1), "too few to tell how far it moves their scores"
    assert not worth_8_bits(random, LEAST_PARTS), "it is for trying things out"
    monkeypatch.setattr(eight_bits, "import_nncf", missing)
    assert not worth_8_bits(known, LEAST_PARTS)
