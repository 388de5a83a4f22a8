"""The tables of the line file, except its cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from engines.hint import Hint
from engines.registry import ENGINES
from pipeline.config.section import Section
from pipeline.protocol.sockets import HIGH_WATER_MARK, MOST_PORT, check_address
from pipeline.protocol.topics import Name

# A preview has about 30 kB: so many take 60 MB while a subscriber hangs.
_PREVIEWS_HIGH_WATER_MARK = 2_000
_NG_AND = "ng+"


class LineSection(Section):
    """`[line]`: the line itself.

    Attributes:
        name: its name in verdicts.
        takt_ms: how long after its capture a frame's verdict is useful, up to an hour. A frame that is not inspected by
            then is answered `uninspected`, reason `late`. None for no limit.
    """

    name: Name = "line"
    takt_ms: float | None = Field(default=None, gt=0, le=3_600_000, allow_inf_nan=False)


class ModelSection(Section):
    """`[model]`: what inspects the frames.

    Attributes:
        bundle: the model bundle.
        engine: an engine's name, or `auto` for the fastest on this machine.
        precision: `auto` for the fastest that gives float32's verdicts, or one that the engine offers.
        max_batch: the most frames in one batch.
        fallback: the engine that takes over if the first one fails and cannot be reopened, or None.
        device: what the engine runs on; None for its preferred device.
        hint: whether to optimise for one batch (`latency`) or for many together (`throughput`).
    """

    bundle: Path
    engine: str = "auto"
    precision: str = "auto"
    max_batch: int = Field(default=8, ge=1, le=256)
    fallback: str | None = None
    device: str | None = None
    hint: Hint = "latency"

    @field_validator("engine", "fallback")
    @classmethod
    def _check_engine(cls, value: str | None) -> str | None:
        known = ("auto", *ENGINES)
        if value is not None and value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value


class DecisionSection(Section):
    """`[decision]`: when a part counts as defective, and what its verdict carries.

    Attributes:
        sigma: threshold in sigma units; None for the bundle's own.
        rule: what makes a part defective: its `score` alone, or, with `score-or-region`, also a region of the heatmap
            that covers `min_region_px` or more and lies above a threshold of its own.
        region_sigma: that threshold in sigma units; None for the bundle's own for regions of that size.
        heatmaps: which verdicts carry their heatmap.
        min_region_px: regions that cover fewer pixels of the frame are omitted.
    """

    sigma: float | None = Field(default=None, allow_inf_nan=False)
    rule: Literal["score", "score-or-region"] = "score"
    region_sigma: float | None = Field(default=None, allow_inf_nan=False)
    heatmaps: Literal["ng", "all", "none"] = "ng"
    min_region_px: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_rule(self) -> DecisionSection:
        if self.region_sigma is not None and self.rule == "score":
            raise ValueError('region_sigma needs rule = "score-or-region"')
        return self


class PublishSection(Section):
    """`[publish]`: where verdicts go.

    Attributes:
        verdicts: ZeroMQ address to bind.
        replay: ZeroMQ address to bind, where subscribers ask for what they missed; it needs a journal.
        previews: the most previews a second for each camera, besides those of all `ng` frames; 0 for none.
        queue: the most messages that wait for one slow subscriber; it must fetch any beyond that from the replay. None
            for 100,000, or for 2,000 with previews, which take more memory.
        curve_secret: the line's secret key file, made with `taktline keys new`; None for no CURVE.
        allowed_clients: the folder with the public keys of clients that may subscribe.
        insecure: whether other machines may subscribe without a key.
        await_subscribers: how many subscribers to wait for before the first frame.
        await_s: how long to wait for them, in seconds.
    """

    verdicts: str = "tcp://127.0.0.1:5556"
    replay: str | None = None
    previews: float = Field(default=0.0, ge=0, le=100, allow_inf_nan=False)
    queue: int | None = Field(default=None, ge=1)
    curve_secret: Path | None = None
    allowed_clients: Path | None = None
    insecure: bool = False
    await_subscribers: int = Field(default=0, ge=0)
    await_s: float = Field(default=30.0, gt=0)

    @property
    def high_water_mark(self) -> int:
        """The most messages that wait for one slow subscriber."""
        return self.queue or (_PREVIEWS_HIGH_WATER_MARK if self.previews else HIGH_WATER_MARK)

    @field_validator("verdicts", "replay")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        return None if value is None else check_address(value)


class JournalSection(Section):
    """`[journal]`: where verdicts are kept.

    Attributes:
        path: the journal's file; pictures are stored in a folder beside it.
        keep_days: older verdicts are removed; None to keep all.
        max_gib: if verdicts and pictures take more space, the oldest are removed; None for no limit.
        keep_images: which frames' pictures are kept: `ng`, `all`, `none`, or `ng+0.01` for all `ng` frames and a
            hundredth of the `ok` ones, drawn at random, so that there are good parts to adapt a bundle to.
        durability: what a published verdict survives: the death of the `process`, or a loss of `power`.
    """

    path: Path
    keep_days: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    keep_images: str = "ng"
    durability: Literal["process", "power"] = "process"

    @property
    def kept_share(self) -> float:
        """The share of `ok` frames whose pictures are kept, beside those of all `ng` frames."""
        return float(self.keep_images.removeprefix(_NG_AND)) if self.keep_images.startswith(_NG_AND) else 0.0

    @field_validator("keep_images")
    @classmethod
    def _check_images(cls, value: str) -> str:
        share = value.removeprefix(_NG_AND)
        digits = share.replace(".", "", 1)
        drawn = value.startswith(_NG_AND) and digits.isascii() and digits.isdigit() and 0 < float(share) < 1
        if value not in {"ng", "all", "none"} and not drawn:
            raise ValueError("must be ng, all, none, or ng+ and a share of the ok frames below 1, such as ng+0.01")
        return value


class DriftSection(Section):
    """`[drift]`: whether the line watches that good parts look as they did at calibration.

    Attributes:
        enabled: whether it does, if the bundle knows what good parts look like.
        parts_per_false_alarm: how many parts of a camera pass on average until a false alarm. Fewer tells smaller and
            quicker changes.
    """

    enabled: bool = True
    parts_per_false_alarm: int = Field(default=100_000, ge=1_000, le=1_000_000_000)


class HealthSection(Section):
    """`[health]`: where monitoring can ask for the line's state.

    Attributes:
        bind: `HOST:PORT` that answers `GET /live`, `/ready`, `/status` and `/metrics`; None for no server.
        insecure: whether other machines may ask.
    """

    bind: str | None = Field(default=None, pattern=r"^[^:/]+:[0-9]{1,5}$")
    insecure: bool = False

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, value: str | None) -> str | None:
        if value is not None and int(value.rpartition(":")[2]) > MOST_PORT:
            raise ValueError(f"must be HOST:PORT with a port from 0 to {MOST_PORT}")
        return value


class ControlSection(Section):
    """`[control]`: who may give the line orders, such as `taktline deploy`.

    Attributes:
        bind: ZeroMQ address; `auto` for a socket file named after the line; None for no socket, which `taktline run`
            takes as `auto`.
        allowed_clients: the folder with the public keys of clients that may give orders over TCP; the line's own key
            is `curve_secret` of `[publish]`. None for no CURVE, which requires an address on this machine.
        insecure: whether other machines may give orders without a key.
    """

    bind: str | None = None
    allowed_clients: Path | None = None
    insecure: bool = False

    @field_validator("bind")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        return value if value in {None, "auto"} else check_address(str(value))
