"""Renders HTML pages, all of which extend `templates/page.html` with its layout and style."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, digits: int, **values: Any) -> str:
    """Renders a template of a package to one self-contained HTML page.

    Args:
        package: the package whose folder `templates` holds it.
        template: its file name. It can use the filter `figure(digits)`, which writes a number, or "-" for None.
        digits: default number of decimals for `figure`.
        values: what the template shows; a missing name is an error.
    """

    def figure(value: float | None, decimals: int = digits) -> str:
        return "-" if value is None else f"{value:.{decimals}f}"

    loader = ChoiceLoader([PackageLoader(package), PackageLoader("calibration")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["figure"] = figure
    return environment.get_template(template).render(**values)
