"""Native form fields: they work by keyboard and by touch, and keep their values in the page's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nicegui import ui


def text_field(name: str, label: str, value: str, kind: str = "text", **more: str) -> None:
    """Builds an input with its label."""
    with ui.element("label").classes("field"):
        ui.label(label)
        element("input", name=name, type=kind, value=value, **more)


def choice_field(name: str, label: str, value: str, choices: Mapping[str, str] | Sequence[str]) -> None:
    """Builds a choice with its label.

    Args:
        name: of the field.
        label: what people read.
        value: the chosen one.
        choices: the values, each with its text.
    """
    texts = choices if isinstance(choices, Mapping) else {choice: choice for choice in choices}
    with ui.element("label").classes("field"):
        ui.label(label)
        with element("select", name=name):
            for one, text in texts.items():
                option = element("option", value=one, **({"selected": "selected"} if one == value else {}))
                with option:
                    ui.label(text)


def element(tag: str, /, **properties: str) -> ui.element:
    """Returns an element whose properties may hold any text, such as what a user typed."""
    made = ui.element(tag)
    for name, value in properties.items():
        made.props[name.replace("_", "-")] = value
    return made
