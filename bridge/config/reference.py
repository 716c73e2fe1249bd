"""The page that lists every key of the configuration, made from its JSON Schema."""

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

from meshbridge.bridge.config.schema import Schema, is_duration, schema, variants

_HEADER = """\
# Configuration reference

Generated from the models by `make schema`.

Durations are written with their unit: `250ms`, `30s`, `1m30s`, `24h`.
`[]` stands for an entry of a list, `KEY` for a key of your own.
"""


class Row(NamedTuple):
    """One key."""

    path: str
    type: str
    default: str
    meaning: str


def reference() -> str:
    """Return the page as Markdown, one table for each part of the file."""
    sections = [_HEADER]
    for key, part in schema()["properties"].items():
        for title, rows in _tables(key, part):
            table = "\n".join(
                f"| `{row.path}` | {row.type} | {row.default} | {row.meaning} |" for row in rows
            )
            sections.append(
                f"## {title}\n\n{part.get('description', '')}\n\n"
                f"| key | type | default | meaning |\n|---|---|---|---|\n{table}\n"
            )
    return "\n".join(sections)


def _tables(key: str, part: Schema) -> Iterator[tuple[str, list[Row]]]:
    if key != "sources":
        yield key, list(_rows(key, part))
        return
    for kind, reference in part["items"]["discriminator"]["mapping"].items():
        yield f"sources of kind {kind}", list(_rows("sources[]", {"$ref": reference}))


def _rows(path: str, part: Schema) -> Iterator[Row]:
    """Give the keys under a part, each before those inside it."""
    for variant in variants(part):
        for name, child in variant.get("properties", {}).items():
            needed = name in variant.get("required", ())
            yield Row(f"{path}.{name}", _type(child), _default(child, needed=needed), _cell(child))
            yield from _rows(f"{path}.{name}", child)
        if "items" in variant:
            yield from _rows(f"{path}[]", variant["items"])
        if isinstance(variant.get("additionalProperties"), dict):
            yield from _rows(f"{path}.KEY", variant["additionalProperties"])


def _type(part: Schema) -> str:
    words = [_one_type(variant) for variant in variants(part)]
    return " or ".join(dict.fromkeys(word for word in words if word != "null"))


def _one_type(part: Schema) -> str:
    choices = part.get("enum") or ([part["const"]] if "const" in part else [])
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if is_duration(part):
        return "duration"
    if "items" in part:
        return f"list of {_type(part['items'])}"
    if isinstance(part.get("additionalProperties"), dict):
        return f"mapping to {_type(part['additionalProperties'])}"
    found = part.get("type", "any")
    return " or ".join(found) if isinstance(found, list) else str(found)


def _default(part: Schema, *, needed: bool) -> str:
    if needed:
        return "required"
    value = part.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _cell(part: Schema) -> str:
    """Return the description; a part that has none is described by what it refers to."""
    described = [part, *variants(part)]
    description = next((found["description"] for found in described if "description" in found), "")
    return " ".join(description.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
