"""Arguments and options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from engines.architecture import Arch
from engines.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.security.curve import ClientKeys

# What to run.
BundleArgument = Annotated[Path, typer.Argument(help="Model bundle, as `taktline calibrate` writes it.")]
_DATA = typer.Argument(help="Data set in the layout of MVTec AD, BTAD or VisA, or good/ beside folders of defects.")
DataArgument = Annotated[Path, _DATA]
OptionalData = Annotated[Path | None, _DATA]
BackboneOption = Annotated[
    str, typer.Option(envvar="TAKTLINE_BACKBONE", help="imagenet, untrained, or a .pth or .safetensors file.")
]
BackboneArchOption = Annotated[
    Arch, typer.Option(help="The backbone's architecture: resnet18 for a small PC, wide_resnet50_2 for a GPU.")
]
SplitOption = Annotated[float, typer.Option(help="Share of good parts to train on if there is no train folder.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed for everything random.")]
EngineOption = Annotated[str, typer.Option(help="auto (the fastest here), tensorrt, openvino, onnxruntime or torch.")]
PrecisionOption = Annotated[
    str, typer.Option(help="auto (the fastest with float32's verdicts), f32, bf16, f16, int8, int8+f32 and the like.")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, gpu, npu or cuda. Default: what the engine prefers.")]
MaxBatchOption = Annotated[int, typer.Option(min=1, max=256, help="Maximum frames in a batch.")]

# How to reach a line.
PUBLISHED_AT = "tcp://127.0.0.1:5556"
CamerasOption = Annotated[list[str] | None, typer.Option("--camera", help="Only this camera. Repeat for more.")]
ReplayOption = Annotated[
    str | None, typer.Option(help="The line's replay address. With it, missed verdicts are fetched and none is lost.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Your secret key file, if the line uses CURVE.")]
ServerKeyOption = Annotated[
    str | None, typer.Option("--server-key", help="The line's public key, or the file that holds it.")
]
LineArgument = Annotated[str, typer.Argument(help="The line's name, or its control address.")]

# How to print results.
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
JsonLinesFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all figures to this JSON file.")]
ReportFile = Annotated[Path | None, typer.Option(help="Write an HTML report to this file.")]


def read_keys(key: Path | None, server_key: str | None) -> ClientKeys | None:
    """Reads the keys given by `--key` and `--server-key`; returns None if neither was given.

    Raises:
        ConfigError: only one was given, or one cannot be used.
    """
    if key is None and server_key is None:
        return None
    if key is None or server_key is None:
        raise ConfigError("--key and --server-key belong together: give your secret key file and the line's public key")
    from pipeline.security.curve import ClientKeys

    return ClientKeys.read(key, server_key)


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """Lets commands share options by taking them as a dataclass.

    Args:
        command: some of its parameters are dataclasses whose fields are annotated as options.

    Returns:
        The command for typer, with the fields in place of each dataclass.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind):
            groups[parameter.name] = kind
            own = get_type_hints(kind, include_extras=True)
            parameters += [
                inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=own[field.name])
                for field in fields(kind)
            ]
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=kind))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
