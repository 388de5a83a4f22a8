"""Plots for the reports, in one style and embedded in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD, BAD, INK, LINE = "#2e9e5b", "#e5484d", "#20262d", "#3b6fd4"


def svg(draw: Callable[[Axes], None], width: float) -> str:
    """Draws a plot and returns it as a data URL.

    Args:
        draw: draws into the given axes.
        width: in inches; all plots have the same height.
    """
    style: Any = {
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9aa3ad",
        "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "svg.fonttype": "path", "svg.hashsalt": "t",
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, 3.3), layout="constrained")
        draw(figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
