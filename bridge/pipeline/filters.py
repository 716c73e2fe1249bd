"""Filters of templates: what `{service:lower:replace(_,-)}` does to a value, one after the other.

A filter is a name, with arguments in parentheses where it takes some. Arguments are texts without
parentheses, separated by commas; spaces count. Everything wrong with a filter is wrong when it is compiled.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from meshbridge.bridge.wording import did_you_mean, listing
from meshbridge.schemas import naming

Filter = Callable[[str], str]

_WRITTEN = re.compile(r"([a-z]*)(?:\(([^()]*)\))?")
_MAX_WEIGHT = 2**31 - 1


class _Kind(NamedTuple):
    usage: str
    counts: range
    """How many arguments it may have."""
    make: Callable[[Sequence[str]], Filter]


def compile_filter(written: str) -> Filter:
    """Return the function that `lower` or `replace(_,-)` stands for.

    Raises:
        ValueError: there is no such filter, or its arguments are wrong; the text says what there is.
    """
    found = _WRITTEN.fullmatch(written)
    kind = FILTERS.get(found[1]) if found else None
    if found is None or kind is None:
        name = written.partition("(")[0]
        usages = listing([known.usage for known in FILTERS.values()])
        raise ValueError(f'unknown filter "{written}", known are {usages}{did_you_mean(name, [*FILTERS])}')
    arguments = () if found[2] is None else tuple(found[2].split(","))
    if len(arguments) not in kind.counts:
        raise ValueError(f'filter "{written}" is written {kind.usage}')
    return kind.make(arguments)


def _replace(arguments: Sequence[str]) -> Filter:
    old, new = arguments
    if not old:
        raise ValueError(f'filter "replace(,{new})" has nothing to replace')
    return lambda text: text.replace(old, new)


def _map(arguments: Sequence[str]) -> Filter:
    """Return what replaces a whole value by another; `*` stands for every value that is not named."""
    pairs = [one.partition("=") for one in arguments]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(f'filter "map({",".join(arguments)})" is written {FILTERS["map"].usage}')
    values = {old: new for old, _, new in pairs}
    others = values.get("*")
    return lambda text: values.get(text, text if others is None or not text else others)


def _times(arguments: Sequence[str]) -> Filter:
    """Return what multiplies a number, rounds it, and keeps it above 0: a weight of 0 means leaving."""
    try:
        factor = float(arguments[0])
    except ValueError:
        factor = -1
    if not 0 < factor < _MAX_WEIGHT:
        raise ValueError(f'filter "times({arguments[0]})" needs a number above 0')

    def times(text: str) -> str:
        if not text.isascii() or not text.isdecimal() or len(text) > 10:
            return ""
        return str(min(max(round(int(text) * factor), 1), _MAX_WEIGHT)) if int(text) else "0"

    return times


def _cut(arguments: Sequence[str]) -> Filter:
    if not arguments[0].isdecimal() or not int(arguments[0]):
        raise ValueError(f'filter "cut({arguments[0]})" needs a number of characters')
    return lambda text: text[: int(arguments[0])]


FILTERS: Mapping[str, _Kind] = {
    "lower": _Kind("lower", range(1), lambda _: str.lower),
    "upper": _Kind("upper", range(1), lambda _: str.upper),
    "dns": _Kind("dns", range(1), lambda _: lambda text: text and naming.dns_label(text)),
    "replace": _Kind("replace(OLD,NEW)", range(2, 3), _replace),
    "map": _Kind("map(VALUE=NEW,*=NEW)", range(1, 100), _map),
    "before": _Kind("before(MARK)", range(1, 2), lambda given: lambda text: text.partition(given[0])[0]),
    "after": _Kind("after(MARK)", range(1, 2), lambda given: lambda text: text.partition(given[0])[2]),
    "last": _Kind("last(MARK)", range(1, 2), lambda given: lambda text: text.rpartition(given[0])[2]),
    "prefix": _Kind("prefix(TEXT)", range(1, 2), lambda given: lambda text: text and given[0] + text),
    "suffix": _Kind("suffix(TEXT)", range(1, 2), lambda given: lambda text: text and text + given[0]),
    "cut": _Kind("cut(LENGTH)", range(1, 2), _cut),
    "times": _Kind("times(FACTOR)", range(1, 2), _times),
}
"""Every filter: how it is written, and what makes it."""
