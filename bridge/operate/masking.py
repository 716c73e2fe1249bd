"""Documents without their secrets. Pure.

Three nets, one behind the other: values under keys that sound like secrets, credentials in URLs, and
every secret that is known by its value.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

MASK = "***"

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|credential|api_?key|private_?key|authori[sz]ation|cookie",
    re.IGNORECASE,
)
_ALL_VALUES = frozenset({"headers"})
"""Keys of mappings whose values are hidden whatever their names: headers carry credentials under any name."""
_ARGUMENTS = frozenset({"command"})
"""Keys of command lines: only the program is shown."""
_USERINFO = re.compile(r"(?<=://)[^/@\s\"']+@")
_QUERY = re.compile(r"([?&][^=&\s]*(?:pass|secret|token|key|credential)[^=&\s]*=)[^&\s\"']+", re.IGNORECASE)
_SHORTEST = 4
"""Characters below which a secret's value is no use for finding it: it would hit ordinary words."""


def mask(document: object) -> object:
    """Return the document with everything hidden that sounds like a secret."""
    if isinstance(document, Mapping):
        return {key: _value(str(key), value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [mask(item) for item in document]
    return mask_text(document) if isinstance(document, str) else document


def _value(key: str, value: object) -> object:
    if key in _ALL_VALUES and isinstance(value, Mapping):
        return dict.fromkeys(value, MASK)
    if key in _ARGUMENTS and isinstance(value, list | tuple):
        return [*value[:1], *[MASK for _ in value[1:]]]
    if _SECRET_KEY.search(key) and not isinstance(value, Mapping | list | tuple) and value not in (None, ""):
        return MASK
    return mask(value)


def named_secrets(document: object) -> Iterator[str]:
    """Give the texts under keys that sound like a secret."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if isinstance(value, str) and _SECRET_KEY.search(str(key)):
                yield value
            yield from named_secrets(value)
    elif isinstance(document, list | tuple):
        for item in document:
            yield from named_secrets(item)


def mask_text(text: str) -> str:
    """Return the text without the credentials of its URLs."""
    return _QUERY.sub(rf"\g<1>{MASK}", _USERINFO.sub(f"{MASK}@", text))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets, wherever they stand."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    return text
