"""Patterns of the configuration: an exact text, a glob (`*`, `?`), or `/a regular expression/`.

A pattern always speaks of the whole value: `web` does not match `web-1`, and neither does `/web/`.
"""

import re


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern as a regular expression, to be used with `fullmatch`.

    Raises:
        ValueError: the regular expression is malformed; the text says where.
    """
    if not is_expression(text):
        return re.compile("".join(_piece(character) for character in text), re.DOTALL)
    try:
        # In a group, so that it can be joined with others; flags for all of it are an error here.
        return re.compile(f"(?:{text[1:-1]})")
    except re.error as error:
        raise ValueError(f'"{text}" is not a regular expression: {error}') from None


def is_expression(text: str) -> bool:
    """Whether the text is written as a regular expression."""
    return len(text) > 1 and text.startswith("/") and text.endswith("/")


def is_exact(text: str) -> bool:
    """Whether only the text itself matches: a comparison will do, and an index may."""
    return not is_expression(text) and "*" not in text and "?" not in text


def _piece(character: str) -> str:
    return {"*": ".*", "?": "."}.get(character) or re.escape(character)
