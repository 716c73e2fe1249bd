"""The configuration's JSON Schema (draft 2020-12), made from the models."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from meshbridge.bridge.config.models import Config

Schema = dict[str, Any]
"""JSON Schema, as JSON."""


@cache
def schema() -> Schema:
    """Return the schema of the whole file. It is not to be changed."""
    found = Config.model_json_schema()
    _tidy(found)
    for reference in found["properties"]["sources"]["items"]["discriminator"]["mapping"].values():
        required = found["$defs"][reference.rpartition("/")[2]].setdefault("required", [])
        required += {"kind"} - set(required)  # A model knows its own kind, a file has to say it.
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meshbridge configuration",
        **{key: value for key, value in found.items() if key != "title"},
    }


def schema_text() -> str:
    """Return the schema as text, always the same for the same models."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


def variants(part: Schema) -> Iterator[Schema]:
    """Give the alternatives of a schema, references followed."""
    if "$ref" in part:
        yield from variants(schema()["$defs"][part["$ref"].rpartition("/")[2]])
        return
    alternatives = [*part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())]
    for alternative in alternatives:
        yield from variants(alternative)
    if not alternatives:
        yield part


def parts_at(location: Sequence[str | int]) -> list[Schema]:
    """Return what the schema says of a location, as pydantic's errors write it (with union tags)."""
    found = [schema()]
    for step in location:
        inner = [child for part in found for child in _children(part, step)]
        found = inner or found  # A step that leads nowhere is the tag of a plain union.
    return [variant for part in found for variant in variants(part)]


def _children(part: Schema, step: str | int) -> Iterator[Schema]:
    tagged = part.get("discriminator", {}).get("mapping", {})
    if step in tagged:
        yield {"$ref": tagged[step]}
        return
    for variant in variants(part):
        if isinstance(step, int):
            yield from _items(variant)
        elif step in variant.get("properties", {}):
            yield variant["properties"][step]
        elif isinstance(variant.get("additionalProperties"), dict):
            yield variant["additionalProperties"]


def _items(variant: Schema) -> Iterator[Schema]:
    if "items" in variant:
        yield variant["items"]


def is_duration(part: Mapping[str, Any]) -> bool:
    """Whether the value is a duration such as `30s`."""
    return "(ms|s|m|h|d)" in part.get("pattern", "")


def format_duration(seconds: float) -> str:
    """Return the duration in the largest unit that divides it: `24h`, `90s`, `150ms`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0 and (milliseconds or unit == "s"):
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def _tidy(part: object) -> None:
    """Remove titles that repeat the key, and write default durations the way people do."""
    if isinstance(part, list):
        for item in part:
            _tidy(item)
    if not isinstance(part, dict):
        return
    for child in part.get("properties", {}).values():
        child.pop("title", None)
        if isinstance(child.get("default"), dict):
            del child["default"]  # It repeats the defaults of the keys inside.
        if is_duration(child) and isinstance(child.get("default"), float):
            child["default"] = format_duration(child["default"])
    for child in part.values():
        _tidy(child)
