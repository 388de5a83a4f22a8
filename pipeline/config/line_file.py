"""The line file: a line's settings, read from TOML and checked before anything starts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from engines.errors import ConfigError
from pipeline.config.camera import CameraConfig, redact
from pipeline.config.section import Section
from pipeline.config.sections import (
    ControlSection,
    DecisionSection,
    DriftSection,
    HealthSection,
    JournalSection,
    LineSection,
    ModelSection,
    PublishSection,
)
from pipeline.config.toml_file import read_toml
from pipeline.config.unknown import location, unknown_setting

log = logging.getLogger(__name__)

# Sources that only one camera can use.
_ONE_TAKER = ("feed:", "usb:", "gige:")
_TABLES: dict[str, type[Section]] = {
    "line": LineSection, "model": ModelSection, "camera": CameraConfig, "decision": DecisionSection,
    "drift": DriftSection, "publish": PublishSection, "journal": JournalSection, "health": HealthSection,
    "control": ControlSection,
}  # fmt: skip


class LineConfig(Section):
    """A whole line."""

    line: LineSection = LineSection()
    model: ModelSection
    camera: tuple[CameraConfig, ...]
    decision: DecisionSection = DecisionSection()
    drift: DriftSection = DriftSection()
    publish: PublishSection = PublishSection()
    journal: JournalSection | None = None
    health: HealthSection = HealthSection()
    control: ControlSection = ControlSection()

    @field_validator("camera", mode="before")
    @classmethod
    def _check_table(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(
                "must be a list with at least one table; write [[camera]], with two brackets, for each one"
            )
        return value

    @field_validator("camera")
    @classmethod
    def _check_cameras(cls, value: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names: set[str] = set()
        devices: dict[str, str] = {}
        for camera in value:
            if camera.name in names:
                raise ValueError(f"two cameras are called '{camera.name}'")
            names.add(camera.name)
            if camera.source.startswith(_ONE_TAKER):
                other = devices.setdefault(camera.source, camera.name)
                if other != camera.name:
                    raise ValueError(f"the cameras '{other}' and '{camera.name}' share one source; give each its own")
        return value


def read_line_file(path: Path) -> LineConfig:
    """Reads a line file; paths in it are relative to its folder.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has an invalid setting.
    """
    values = read_toml(path, "line file")
    config = _anchor_keys(check_config(values, str(path)), path.parent)
    bundle = path.parent / config.model.bundle
    cameras = tuple(
        camera.model_copy(update={"source": _anchor(camera.source, path.parent)}) for camera in config.camera
    )
    update: dict[str, Any] = {"model": config.model.model_copy(update={"bundle": bundle}), "camera": cameras}
    if config.journal is not None:
        update["journal"] = config.journal.model_copy(update={"path": path.parent / config.journal.path})
    return config.model_copy(update=update)


def check_config(values: dict[str, Any], where: str) -> LineConfig:
    """Checks a line's settings.

    Args:
        values: the contents of a line file.
        where: what to call them in an error.

    Raises:
        ConfigError: names the first error and, for an unknown key, the nearest known name.
    """
    try:
        config = LineConfig.model_validate(_rename_metrics(values, where))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error
    if config.publish.replay is not None and config.journal is None:
        raise ConfigError(f"{where}: 'publish.replay' answers from a journal; add a [journal] with its path")
    return config


def check_camera(values: dict[str, Any], where: str) -> CameraConfig:
    """Checks one camera's settings, as `check_config` does.

    Raises:
        ConfigError: names the first error.
    """
    try:
        return CameraConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


def _rename_metrics(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Accepts `[metrics]`, the old name of `[health]`."""
    if "metrics" not in values:
        return values
    if "health" in values:
        raise ConfigError(f"{where}: [metrics] is the old name of [health]; give [health] only")
    log.warning("%s: [metrics] is now called [health]; rename it", where)
    return {("health" if key == "metrics" else key): value for key, value in values.items()}


def _anchor(source: str, folder: Path) -> str:
    kind, separator, rest = source.partition(":")
    if kind in ("replay", "folder", "file") and separator:
        return f"{kind}:{folder / rest}"
    return source


def _anchor_keys(config: LineConfig, folder: Path) -> LineConfig:
    publish, control = config.publish, config.control
    found = {
        "curve_secret": publish.curve_secret and folder / publish.curve_secret,
        "allowed_clients": publish.allowed_clients and folder / publish.allowed_clients,
    }
    orders = {"allowed_clients": control.allowed_clients and folder / control.allowed_clients}
    return config.model_copy(
        update={"publish": publish.model_copy(update=found), "control": control.model_copy(update=orders)}
    )


def _explain(error: ValidationError) -> str:
    unknown = unknown_setting(error, LineConfig, _TABLES)
    if unknown is not None:
        return unknown
    first = error.errors()[0]
    where = location(first["loc"])
    if first["type"] == "missing":
        return f"'{where}' is missing; add it"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = first["input"]
    if isinstance(found, dict | list | tuple):
        # Showing a whole table adds nothing, and could reveal a camera's password.
        return f"'{where}' {message[0].lower()}{message[1:]}"
    shown = redact(found) if isinstance(found, str) else found
    return f"'{where}' {message[0].lower()}{message[1:]} (it is {shown!r})"
