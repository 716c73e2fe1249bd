"""Bytes to text to plain values, and where in a document a value stands."""

import json
from collections.abc import Iterable

from meshbridge.adapters.inventory.formats import yaml_text
from meshbridge.adapters.inventory.formats.yaml_text import YamlMapping
from meshbridge.schemas.errors import PayloadError

_TEXT_CONTROLS = frozenset("\t\n\r\f")
_SAMPLE = 4096
"""Characters looked at for signs of a binary file; decoding as UTF-8 covers the rest."""


def decode(content: bytes, document: str) -> str:
    """Return the text of a document.

    Raises:
        PayloadError: it is a binary file, or not UTF-8.
    """
    if content[:2] == b"\x1f\x8b":
        raise PayloadError(document, "a compressed file (gzip), not text")
    zero = content.find(b"\0")
    if zero >= 0:
        raise PayloadError(document, f"a binary file, not text: byte 0x00 at offset {zero}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"not UTF-8 text: byte 0x{content[error.start]:02x} at offset {error.start}"
        raise PayloadError(f"{document}:{line}", reason) from error
    control = next((c for c in text[:_SAMPLE] if c < " " and c not in _TEXT_CONTROLS), None)
    if control is not None:
        raise PayloadError(document, f"a binary file, not text: control character 0x{ord(control):02x}")
    return text


def load(text: str, document: str) -> list[object]:
    """Return the documents of a JSON or YAML text; empty ones are left out.

    Raises:
        PayloadError: it is neither, or breaks the limits of `yaml_text`.
    """
    is_yaml = document.endswith((".yaml", ".yml"))
    found: list[object]
    if text.lstrip()[:1] in ("{", "["):
        try:
            found = [_json(text, document)]
        except json.JSONDecodeError as error:
            if document.endswith(".json"):
                reason = f"not JSON: {error.msg}"
                raise PayloadError(f"{document}:{error.lineno}", reason) from error
            found = yaml_text.load(text, document)  # Flow style begins the same way.
    elif document.endswith(".json") and text.strip() and not is_yaml:
        raise PayloadError(f"{document}:1", "not JSON: it begins with neither { nor [")
    else:
        found = yaml_text.load(text, document)
    return [value for value in found if value is not None]


def place(document: str, value: object, position: str) -> str:
    """Return `document:line` where the line is known, else the document and the position in it."""
    return f"{document}:{value.line}" if isinstance(value, YamlMapping) else f"{document}: {position}"


def _json(text: str, document: str) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise PayloadError(document, f"the key {_repeated(key for key, _ in pairs)!r} is there twice")
        return found

    try:
        value: object = json.loads(text, object_pairs_hook=unique, parse_float=str)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        raise PayloadError(document, f"not usable JSON: {error}") from error
    return value


def _repeated(keys: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
