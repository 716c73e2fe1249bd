"""YAML text to plain values, with line numbers, bounded in depth and in what aliases expand to.

The values are built from libyaml's events rather than by PyYAML's constructors, for four reasons: each
mapping keeps its line, nesting is held on our own stack, an alias bomb is refused before it exists and
scalars stay as they were written: `version: 1.10` is "1.10", `zone: no` is "no". Whole decimal numbers,
`true`, `false` and `null` are what they seem.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from meshbridge.schemas.errors import PayloadError

MAX_DEPTH = 64
"""Levels of nesting; deeper than any inventory, far from any recursion limit."""
MAX_VALUES = 4_000_000
"""Values in a document after aliases are expanded: 100,000 instances have about 2,000,000."""

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("int", "bool", "null", "float")}
_MERGE = "<<"


class YamlMapping(dict[str, object]):
    """A mapping that knows its line."""

    __slots__ = ("line",)

    def __init__(self, line: int = 0) -> None:
        super().__init__()
        self.line = line


class Vaulted(msgspec.Struct, frozen=True, gc=False):
    """Stands for an encrypted value, which is never read."""


def load(text: str, document: str) -> list[object]:
    """Return the documents of a YAML stream.

    Raises:
        PayloadError: it is not YAML, repeats a key, is too deep or too large, or has a tag we don't know.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return _Builder(document).build(_events(loader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PayloadError(f"{document}:{line}", f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise PayloadError(document, f"not YAML: {str(error).splitlines()[0]}") from error
    finally:
        loader.dispose()


def _events(loader: Any) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()


class _Open(msgspec.Struct):
    """A mapping or sequence that is not closed yet."""

    value: YamlMapping | list[object]
    anchor: str | None
    count: int
    """Values built before it began."""
    key: str | None = None
    merged: list[object] = msgspec.field(default_factory=list)


class _Builder:
    def __init__(self, document: str) -> None:
        self._document = document
        self._documents: list[object] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self._count = 0
        self._line = 1

    def build(self, events: Iterator[yaml.Event]) -> list[object]:
        for event in events:
            self._line = event.start_mark.line + 1 if event.start_mark else self._line
            match event:
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._open(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close()
                case yaml.AliasEvent():
                    self._alias(event.anchor)
                case yaml.DocumentStartEvent():
                    self._anchors.clear()
        return self._documents

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._stack and isinstance(self._stack[-1].value, YamlMapping) and self._stack[-1].key is None:
            self._key(event.value)
            return
        value = self._resolve(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, 1)

    def _key(self, text: str) -> None:
        top = self._stack[-1]
        if text in top.value:
            raise self._error(f"the key {text!r} is there twice")
        top.key = text

    def _resolve(self, event: yaml.ScalarEvent) -> object:
        if event.implicit[0]:
            return _plain(event.value)
        if event.implicit[1] or event.tag in (_TAG + "str", "!unsafe"):
            return event.value
        if event.tag == "!vault":
            return Vaulted()
        if event.tag in _PLAIN_TAGS:
            return _plain(event.value)
        raise self._error(f"the tag {event.tag!r} is not known here")

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if not event.implicit and event.tag not in (_TAG + "map", _TAG + "seq"):
            raise self._error(f"the tag {event.tag!r} is not known here")
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels")
        if self._stack and isinstance(self._stack[-1].value, YamlMapping) and self._stack[-1].key is None:
            raise self._error("a key must be a text")
        fresh: YamlMapping | list[object] = []
        if isinstance(event, yaml.MappingStartEvent):
            fresh = YamlMapping(self._line)
        self._stack.append(_Open(fresh, event.anchor, self._count))

    def _close(self) -> None:
        done = self._stack.pop()
        if isinstance(done.value, YamlMapping):
            self._merge(done.value, done.merged)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._count - done.count + 1)
        self._put(done.value, 1)

    def _alias(self, anchor: str | None) -> None:
        if anchor is None or anchor not in self._anchors:
            raise self._error(f"the alias *{anchor} has no anchor, or stands inside of it")
        self._put(*self._anchors[anchor])

    def _put(self, value: object, count: int) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            raise self._error(f"more than {MAX_VALUES} values, aliases expanded")
        if not self._stack:
            self._documents.append(value)
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            raise self._error("a key must be a text")
        else:
            if top.key == _MERGE:
                top.merged.append(value)
            else:
                top.value[top.key] = value
            top.key = None

    def _merge(self, into: YamlMapping, merged: list[object]) -> None:
        for value in merged:
            for mapping in value if isinstance(value, list) else [value]:
                if not isinstance(mapping, YamlMapping):
                    raise PayloadError(f"{self._document}:{into.line}", "only mappings can be merged with <<")
                for key, inherited in mapping.items():
                    into.setdefault(key, inherited)

    def _error(self, reason: str) -> PayloadError:
        return PayloadError(f"{self._document}:{self._line}", reason)


def _plain(text: str) -> object:
    lowered = text.lower()
    if lowered in _WORDS:
        return _WORDS[lowered]
    return int(text) if _INTEGER.fullmatch(text) else text
