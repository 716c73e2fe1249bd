"""Mistakes in plain words: from pydantic's errors to lines that say file, line, path, and what to write."""

import re
from collections.abc import Callable, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshbridge.bridge.config.document import Node, Path, Problem
from meshbridge.bridge.config.schema import Schema, parts_at
from meshbridge.bridge.wording import did_you_mean, listing

_MAX_SHOWN = 80
_QUOTED = re.compile(r"'([^']*)'")
_USERINFO = re.compile(r"//[^/@\s\"]*@")

_PLAIN = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping (key: value)",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "missing": "is missing; it is required",
    "model_attributes_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list",
}

_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
}

NAME_PATTERN = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""The pattern of `schemas.settings.Name`, which deserves words."""


def translate(error: ValidationError, root: Node) -> list[Problem]:
    """Return the mistakes that pydantic found, with the lines where they stand."""
    return [_translate(details, root) for details in error.errors(include_url=False)]


def locate(root: Node, location: Path) -> tuple[Path, int, Node]:
    """Return path, line and node of the innermost part of a location that is in the file.

    Steps that are not there are left out: tags of unions, and keys that are missing.
    """
    node = root
    path: Path = ()
    for step in location:
        if step in node.children:
            node = node.children[step]
            path = (*path, step)
    return path, node.line, node


def render(problem: Problem, file: str) -> str:
    """Return the line for people: `FILE:LINE: path.in.file: what is wrong`."""
    path = format_path(problem.path)
    return (
        f"{file}:{problem.line}: {path}: {problem.text}" if path else f"{file}:{problem.line}: {problem.text}"
    )


def format_path(path: Path) -> str:
    """Return a path as people write it: `sources[0].name`, `labels."a.b"`."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{_key(step)}" for step in path]
    return "".join(steps).removeprefix(".")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else f'"{key}"'


def _translate(details: ErrorDetails, root: Node) -> Problem:
    location = (*details["loc"], *details.get("ctx", {}).get("at", ()))
    path, line, node = locate(root, location)
    if details["type"] == "missing":
        path = (*path, location[-1])
    elif details["type"].startswith("union_tag"):
        path, line, node = locate(root, (*location, "kind"))
        path = path if path[-1] == "kind" else (*path, "kind")
    hidden = {
        secret: f"${{{name}}}" for one in node.walk() for name, secret in one.variables.items() if secret
    }
    text = _words(details, location, node)
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, hidden[secret])
    return Problem(line, path, _USERINFO.sub("//***@", text))


def _words(details: ErrorDetails, location: Path, node: Node) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _SPECIAL:
        return _SPECIAL[kind](context, location, node)
    if kind == "value_error":
        return _with_value(str(context["error"]), location, node)
    if kind in _LIMITS:
        return _with_value(_LIMITS[kind].format(**context), location, node)
    if "at" in context:
        return details["msg"]
    return _with_value(_PLAIN.get(kind, details["msg"]), location, node)


def _with_value(text: str, location: Path, node: Node) -> str:
    """Return the text with the value that was written, unless it says it already or must not."""
    value = node.value
    if isinstance(value, (dict, list)) or text.startswith(_PLAIN["missing"]) or _is_secret(location):
        return text
    if value is None:
        return f"{text} (nothing is written; leave the key out for its default)"
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    return text if shown in text else f"{text} ({shown})"


def _is_secret(location: Path) -> bool:
    return any(part.get("writeOnly") for part in parts_at(location))


def _unknown_key(_: Mapping[str, object], location: Path, __: Node) -> str:
    allowed = {key for part in parts_at(location[:-1]) for key in part.get("properties", {})}
    key = str(location[-1])
    return f'unknown key "{key}"{did_you_mean(key, allowed) or ";"} allowed: {listing(allowed)}'


def _unknown_kind(context: Mapping[str, object], _: Path, __: Node) -> str:
    return _choice("unknown kind", str(context["tag"]), str(context["expected_tags"]))


def _missing_kind(_: Mapping[str, object], location: Path, __: Node) -> str:
    return f"is missing; allowed: {listing(_kinds(parts_at(location)))}"


def _kinds(parts: list[Schema]) -> set[str]:
    return {part["properties"]["kind"]["const"] for part in parts if "kind" in part.get("properties", {})}


def _not_a_choice(context: Mapping[str, object], location: Path, node: Node) -> str:
    if not isinstance(node.value, str):
        text = f"must be one of {listing(_QUOTED.findall(str(context['expected'])))}"
        return _with_value(text, location, node)
    return _choice("unknown value", node.value, str(context["expected"]))


def _choice(what: str, word: str, expected: str) -> str:
    allowed = _QUOTED.findall(expected)
    return f'{what} "{word}", allowed: {listing(allowed)}{did_you_mean(word, allowed)}'


def _not_a_text(_: Mapping[str, object], location: Path, node: Node) -> str:
    if isinstance(node.value, (dict, list)):
        return "must be a text"
    quotes = "" if node.value is None else "; put it in quotes"
    return _with_value(f"must be a text{quotes}", location, node)


def _wrong_form(context: Mapping[str, object], location: Path, node: Node) -> str:
    if context["pattern"] == NAME_PATTERN:
        text = "must be lower-case letters, digits and inner hyphens, at most 63"
    else:
        text = f"must match {context['pattern']}"
    return _with_value(text, location, node)


_SPECIAL: Mapping[str, Callable[[Mapping[str, object], Path, Node], str]] = {
    "enum": _not_a_choice,
    "extra_forbidden": _unknown_key,
    "literal_error": _not_a_choice,
    "string_pattern_mismatch": _wrong_form,
    "string_type": _not_a_text,
    "union_tag_invalid": _unknown_kind,
    "union_tag_not_found": _missing_kind,
}
