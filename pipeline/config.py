"""The line file: what a line is made of, read from TOML and checked before anything starts."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from engines.engine import Hint
from engines.errors import ConfigError
from pipeline.camera_config import CameraConfig
from pipeline.section import Name, Section


class LineSection(Section):
    """`[line]`: the line itself.

    Attributes:
        name: what verdicts call it.
        takt_ms: how long after its capture a frame's verdict is of use; a frame that is not inspected by then is
            answered `uninspected`, reason `late`. None for as long as it takes.
    """

    name: Name = "line"
    takt_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class ModelSection(Section):
    """`[model]`: what inspects the frames.

    Attributes:
        bundle: the model bundle.
        engine: an engine's name, or `auto`.
        precision: `auto` for the fastest with a second look in float32, or one of the engine's.
        max_batch: the most frames in one batch.
        fallback: an engine that goes on where that one fails and cannot be opened again, or None.
        device: what the engine runs on; None for its preferred device.
        hint: whether a single batch should be quick, or many together.
    """

    bundle: Path
    engine: str = "auto"
    precision: str = "auto"
    max_batch: int = Field(default=8, ge=1, le=256)
    fallback: str | None = None
    device: str | None = None
    hint: Hint = "latency"


class DecisionSection(Section):
    """`[decision]`: when a part is defective and what is told of where.

    Attributes:
        sigma: threshold in sigma units; None for the bundle's own.
        heatmaps: which verdicts carry their heatmap.
        min_region_px: regions that cover fewer pixels of the frame are left out.
    """

    sigma: float | None = Field(default=None, allow_inf_nan=False)
    heatmaps: Literal["ng", "all", "none"] = "ng"
    min_region_px: int = Field(default=0, ge=0)


class PublishSection(Section):
    """`[publish]`: where verdicts go.

    Attributes:
        verdicts: ZeroMQ address to bind.
        replay: ZeroMQ address to bind where subscribers ask for what they missed; it needs a journal.
        queue: the most verdicts that wait for one slow subscriber; those after them it has to ask for.
        curve_secret: the line's secret key file, as `taktline keys new` makes it; None for no CURVE.
        allowed_clients: the folder with the public keys of those who may subscribe.
        insecure: whether others than this machine may subscribe without a key.
        await_subscribers: how many subscribers to wait for before the first frame.
        await_s: how long to wait for them, in seconds.
    """

    verdicts: str = "tcp://127.0.0.1:5556"
    replay: str | None = None
    queue: int = Field(default=100_000, ge=1)
    curve_secret: Path | None = None
    allowed_clients: Path | None = None
    insecure: bool = False
    await_subscribers: int = Field(default=0, ge=0)
    await_s: float = Field(default=30.0, gt=0)

    @field_validator("verdicts", "replay")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("tcp://", "ipc://")):
            raise ValueError("must start with tcp:// or ipc://")
        return value


class JournalSection(Section):
    """`[journal]`: where verdicts are kept.

    Attributes:
        path: the journal's file; pictures lie in a folder beside it.
        keep_days: verdicts older than that are removed; None for never.
        max_gib: where verdicts and pictures take more, the oldest are removed; None for no limit.
        keep_images: of which frames the pictures are kept.
        durability: what a verdict survives that was published: the death of the `process`, or a loss of `power`.
    """

    path: Path
    keep_days: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    keep_images: Literal["ng", "all", "none"] = "ng"
    durability: Literal["process", "power"] = "process"


class MetricsSection(Section):
    """`[metrics]`: who may ask how the line is.

    Attributes:
        bind: `HOST:PORT` that answers `GET /live`, `/ready` and `/status`; None for none.
    """

    bind: str | None = Field(default=None, pattern=r"^[^:/]+:[0-9]{1,5}$")


class ControlSection(Section):
    """`[control]`: who may give the line orders, such as `taktline deploy`.

    Attributes:
        bind: ZeroMQ address; `auto` for a socket file found by the line's name; None for none, or for `auto` with
            `taktline run`.
        allowed_clients: the folder with the public keys of those who may give orders over TCP; the line's own key is
            `curve_secret` of `[publish]`. None for no CURVE, which needs an address on this machine.
        insecure: whether others than this machine may give orders without a key.
    """

    bind: str | None = None
    allowed_clients: Path | None = None
    insecure: bool = False


class LineConfig(Section):
    """A whole line."""

    line: LineSection = LineSection()
    model: ModelSection
    camera: tuple[CameraConfig, ...] = Field(min_length=1)
    decision: DecisionSection = DecisionSection()
    publish: PublishSection = PublishSection()
    journal: JournalSection | None = None
    metrics: MetricsSection = MetricsSection()
    control: ControlSection = ControlSection()

    @field_validator("camera")
    @classmethod
    def _check_names(cls, value: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names = [camera.name for camera in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two cameras are called '{name}'")
        return value


def read_line_file(path: Path) -> LineConfig:
    """Reads a line file; relative paths in it count from its folder.

    Raises:
        ConfigError: it cannot be read, is not TOML, or says something that cannot be.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the line file {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the line file {path} is not TOML: {error}") from error
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
        values: as a line file holds them.
        where: what to call them in an error.

    Raises:
        ConfigError: with the first thing that is wrong, and the nearest known name for an unknown key.
    """
    try:
        config = LineConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error
    if config.publish.replay is not None and config.journal is None:
        raise ConfigError(f"{where}: 'publish.replay' answers from a journal; add a [journal] with its path")
    return config


def check_camera(values: dict[str, Any], where: str) -> CameraConfig:
    """Checks one camera's settings, as `check_config` does.

    Raises:
        ConfigError: with the first thing that is wrong.
    """
    try:
        return CameraConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


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
    # An unknown name first: it is mostly why another one is missing.
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    location = [str(part + 1) if isinstance(part, int) else part for part in first["loc"]]
    where = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
        return f"'{where}' is not a setting; {hint}"
    if first["type"] == "missing":
        return f"'{where}' is missing; add it"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = "" if isinstance(first["input"], dict) else f" (it is {first['input']!r})"
    return f"'{where}' {message[0].lower()}{message[1:]}{found}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[Section]] = {
        "line": LineSection,
        "model": ModelSection,
        "camera": CameraConfig,
        "decision": DecisionSection,
        "publish": PublishSection,
        "journal": JournalSection,
        "metrics": MetricsSection,
        "control": ControlSection,
    }
    section = sections.get(str(location[0])) if location else LineConfig
    return list((section or LineConfig).model_fields)
