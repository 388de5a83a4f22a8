"""Renders the HTML pages: all of them extend `templates/page.html`, which has their frame and their common style."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, digits: int, **values: Any) -> str:
    """Renders a template of a package to one self-contained HTML page.

    Args:
        package: the package whose folder `templates` holds it.
        template: its file name. It has the filter `figure(digits)`, which writes a number, or "-" for None.
        digits: how many decimals `figure` writes unless it is told.
        values: what the template shows; a name that is missing is an error.
    """

    def figure(value: float | None, decimals: int = digits) -> str:
        return "-" if value is None else f"{value:.{decimals}f}"

    loader = ChoiceLoader([PackageLoader(package), PackageLoader("calibration")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["figure"] = figure
    return environment.get_template(template).render(**values)
