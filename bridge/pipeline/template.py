"""Templates of the configuration: `{service:lower}.{source}.mesh`, `{metadata.zone|eu-1a}`.

A variable in braces stands for its value, after the filters that follow it (`:`, see filters.py), and for
its default (after `|`, else nothing) where that is empty; `{{` and `}}` are literal braces. Everything
that can be wrong with a template is wrong when it is compiled: rendering never raises.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec
from typing_extensions import override

from meshbridge.bridge.pipeline.filters import Filter, compile_filter
from meshbridge.bridge.wording import did_you_mean, listing

VARIABLES = (
    *("service", "source", "part", "namespace"),
    *("id", "address", "version", "weight", "zone", "region"),
)
"""Variables that stand for one value."""

MAPPINGS = ("metadata", "labels", "tags", "attributes")
"""Variables that take a key: `{metadata.KEY}`. A key that an instance lacks gives an empty text."""

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
_FILTERED = re.compile(r"([^:|]*)((?::[^:|()]*(?:\([^()]*\))?)*)(?:\|(.*))?", re.DOTALL)
_FILTER = re.compile(r":([^:|()]*(?:\([^()]*\))?)")
_ALLOWED = (*VARIABLES, *(f"{mapping}.KEY" for mapping in MAPPINGS))


class Variable(msgspec.Struct, frozen=True):
    """A place in a template that is filled in."""

    name: str
    """As written: `service`, `metadata.zone`."""
    default: str = ""
    filters: tuple[Filter, ...] = ()

    def text(self, value: str) -> str:
        """Return what stands in the place for a value of the variable."""
        for change in self.filters:
            value = change(value)
        return value or self.default


class Template(msgspec.Struct, frozen=True):
    """A compiled template. Make it with `compile_template()`."""

    text: str
    parts: tuple[str | Variable, ...]
    needs: tuple[str, ...] = ()
    """Variables without which the whole is empty."""

    def render(self, variables: Mapping[str, str] | Callable[[str], str]) -> str:
        """Return the text with every variable filled in.

        The names asked for are those of `variables()`; a mapping may lack them.
        """
        if isinstance(variables, Mapping):
            known = variables
            return self.render(lambda name: known.get(name, ""))
        value = variables
        if self.needs and not all(map(value, self.needs)):
            return ""
        return "".join(part if isinstance(part, str) else part.text(value(part.name)) for part in self.parts)

    def variables(self) -> tuple[str, ...]:
        """Return the names of the variables, in order."""
        return tuple(part.name for part in self.parts if isinstance(part, Variable)) + self.needs

    @override
    def __str__(self) -> str:
        return self.text


def compile_template(text: str, needs: tuple[str, ...] = ()) -> Template:
    """Return the compiled template.

    Args:
        text: as written.
        needs: variables without which it gives an empty text.

    Raises:
        ValueError: a brace stands alone, or a variable is unknown; the text says which and what there is.
    """
    return Template(text, tuple(_merged(_part(token, text) for token in _TOKEN.findall(text))), needs)


def _part(token: str, text: str) -> str | Variable:
    if token in {"{{", "}}"}:
        return token[0]
    if token in {"{", "}"}:
        raise ValueError(
            f'"{token}" without its partner in "{text}"; write "{token}{token}" for a literal brace'
        )
    return _variable(token[1:-1]) if token.startswith("{") else token


def _variable(inner: str) -> Variable:
    found = _FILTERED.fullmatch(inner)
    if found is None:
        raise ValueError(f'"{{{inner}}}" is not written {{VARIABLE:FILTER(ARGUMENTS)|DEFAULT}}')
    name, filters, default = found[1], found[2], found[3] or ""
    mapping, dot, key = name.partition(".")
    if name in VARIABLES or (dot and key and mapping in MAPPINGS):
        return Variable(name, default, tuple(map(compile_filter, _FILTER.findall(filters))))
    if mapping in MAPPINGS:
        raise ValueError(f'"{{{inner}}}" lacks a key; write {{{mapping}.KEY}}')
    meant = did_you_mean(mapping, MAPPINGS if dot else (*VARIABLES, *MAPPINGS))
    raise ValueError(f'unknown variable "{{{inner}}}", known are {listing(_ALLOWED)}{meant}')


def _merged(parts: Iterable[str | Variable]) -> list[str | Variable]:
    """Return the parts with neighbouring texts joined: fewer pieces to join for every instance."""
    found: list[str | Variable] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, str) and isinstance(last, str):
            found[-1] = last + part
        else:
            found.append(part)
    return found
