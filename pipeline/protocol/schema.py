"""The JSON Schemas of the bodies of verdicts and events, generated from their classes.

`python -m pipeline.protocol.schema` writes them to `verdict.schema.json` and `event.schema.json` beside this file, for
clients in other languages.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.protocol.event import EVENT_VERSION, Event
from pipeline.protocol.label import Label
from pipeline.protocol.verdict import WIRE_VERSION, HeatmapScale, Latency, Region, Verdict

SCHEMA_FILE = Path(__file__).with_name("verdict.schema.json")
EVENT_SCHEMA_FILE = SCHEMA_FILE.with_name("event.schema.json")


def verdict_schema() -> dict[str, Any]:
    """Returns the schema. It describes the body on the wire and the JSON that bridges write."""
    body, scale = TypeAdapter(Verdict).json_schema(), TypeAdapter(HeatmapScale).json_schema()
    parts: dict[type, Any] = {kind: body["$defs"][kind.__name__] for kind in (Region, Latency, Label)}
    parts[HeatmapScale] = scale
    always = [name for name in body["properties"] if name != "label"]
    version = {"const": WIRE_VERSION, "description": "version of this schema"}
    for kind, schema in {**parts, Verdict: body}.items():
        _describe(schema, kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The body of a Taktline verdict, version {WIRE_VERSION}",
        "description": body["description"],
        "type": "object",
        "properties": {"v": version, **body["properties"], "heatmap": {"$ref": "#/$defs/HeatmapScale"}},
        # Everything except label and heatmap is always there, even fields that a reader could do without.
        "required": ["v", *always],
        "additionalProperties": False,
        "$defs": {**body["$defs"], "HeatmapScale": scale},
    }


def event_schema() -> dict[str, Any]:
    """Returns the schema of an event's body."""
    body = TypeAdapter(Event).json_schema()
    _describe(body, Event)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The body of a Taktline event, version {EVENT_VERSION}",
        "description": body["description"],
        "type": "object",
        "properties": {"v": {"const": EVENT_VERSION, "description": "version of this schema"}, **body["properties"]},
        "required": ["v", *body["properties"]],
        "additionalProperties": False,
    }


def _describe(schema: dict[str, Any], kind: type) -> None:
    """Copies a docstring into a schema's descriptions: the summary, and a line for each property."""
    text = inspect.getdoc(kind) or ""
    schema["description"] = text.partition("\n")[0]
    schema.pop("title", None)
    for name, words in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text.partition("Attributes:")[2], re.MULTILINE):
        schema["properties"][name].pop("title", None)
        schema["properties"][name].pop("default", None)
        schema["properties"][name]["description"] = " ".join(words.split())


if __name__ == "__main__":
    for file, schema in ((SCHEMA_FILE, verdict_schema()), (EVENT_SCHEMA_FILE, event_schema())):
        file.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
