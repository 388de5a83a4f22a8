"""What is missing or wrong is said in one sentence that names the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from engines.errors import ConfigError, EngineUnavailable, TaktlineError
from engines.extras import require
from engines.validation import explain


def test_a_module_that_is_there_is_returned() -> None:
    assert require("json.decoder", "parquet").JSONDecoder is not None


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(ConfigError, match=r"'taktlineless' is not installed.*pip install 'taktline\[mqtt\]'$") as found:
        require("taktlineless.client", "mqtt", ConfigError)
    assert isinstance(found.value.__cause__, ModuleNotFoundError)
    with pytest.raises(EngineUnavailable, match=r"pip install taktline$"):
        require("taktlineless", "", EngineUnavailable)


def test_a_package_that_needs_another_names_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taktline_needy.py").write_text("import taktlineless.deep\n")
    (tmp_path / "taktline_broken.py").write_text("raise ImportError('libcudart.so.99: cannot open\\n')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaktlineError, match="'taktlineless' is not installed"):
        require("taktline_needy", "bench")
    with pytest.raises(TaktlineError, match=r"'taktline_broken' is installed but does not load \(libcudart"):
        require("taktline_broken", "bench")


class Inner(BaseModel):
    """A value with a rule of its own."""

    rows: list[int]

    @field_validator("rows")
    @classmethod
    def _short(cls, rows: list[int]) -> list[int]:
        if len(rows) > 2:
            raise ValueError("at most two rows")
        return rows


class Outer(BaseModel):
    """A value in a value."""

    inner: Inner


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"inner": {"rows": [1, "x"]}}, "inner.rows.1: Input should be a valid integer"),
        ({"inner": {"rows": [1, 2, 3]}}, "inner.rows: at most two rows"),
        ({}, "inner: Field required"),
        ([], "Input should be a valid dictionary"),
    ],
)
def test_what_pydantic_finds_is_one_sentence(values: object, text: str) -> None:
    with pytest.raises(ValidationError) as found:
        Outer.model_validate(values)
    assert explain(found.value).startswith(text)
