"""`taktline camera`: what the cameras of a line see, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from engines.errors import ConfigError
from taktline.cli.console import show, show_json
from taktline.cli.options import CamerasOption, JsonFlag, ReportFile


def build_camera() -> typer.Typer:
    """Returns the commands under `taktline camera`."""
    app = typer.Typer(name="camera", no_args_is_help=True, help="Look through the cameras of a line.")

    @app.callback()
    def camera() -> None:
        """Look through the cameras of a line."""

    app.command()(check)
    return app


def check(
    line: Annotated[Path, typer.Argument(help="The line file.")],
    camera: CamerasOption = None,
    pictures: Annotated[int, typer.Option(min=1, max=100, help="Pictures to take of each camera.")] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for them.")] = 15.0,
    report: ReportFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how each camera's pictures differ from those of calibration. Exits with 1 if one does.

    Put good parts under the cameras first. No engine runs, and no line has to.

    Example: taktline camera check line.toml --report cameras.html
    """
    from engines.bundle import open_bundle
    from engines.files import check_writable
    from pipeline.config.line_file import read_line_file
    from pipeline.line.camera_check import check_camera
    from taktline.cli.camera_report import write_camera_report

    if report is not None:
        check_writable(report)
    config = read_line_file(line)
    names = [one.name for one in config.camera]
    for name in camera or ():
        if name not in names:
            raise ConfigError(f"the line has no camera '{name}'; it has {', '.join(names)}")
    bundle = open_bundle(config.model.bundle)
    checks = [check_camera(one, bundle, pictures, timeout) for one in config.camera if one.name in (camera or names)]
    if report is not None:
        write_camera_report(report, bundle, checks)
    if as_json:
        show_json({"bundle": bundle.short_id, "cameras": [one.to_json() for one in checks]})
    else:
        for one in checks:
            show(Text(one.sentence, "green" if one.good else "yellow"))
            show(*(Text(f"   {remedy}") for remedy in one.remedies))
    if not all(one.good for one in checks):
        raise typer.Exit(1)
