"""A configuration in the making, and what of the original it could not take along. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from meshbridge.schemas import naming
from meshbridge.schemas.yaml_text import dump

Mapped = Mapping[str, Any]


@dataclass
class Draft:
    """What an importer builds up."""

    origin: str
    """What it was made of, for the first line."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was left out or has to be looked at, a sentence each."""

    def unique_name(self, wanted: str) -> str:
        """Return the wanted name as one that a source may have and none has."""
        base = naming.dns_label(wanted) if wanted else "source"
        taken = {source["name"] for source in self.sources}
        candidates = [base, *(f"{base[:58]}-{number}" for number in range(2, len(taken) + 3))]
        return next(name for name in candidates if name not in taken)

    def leave_out(self, where: str, found: Mapped, known: Iterable[str]) -> None:
        """Note every key that is set and that nobody here knows."""
        taken = set(known)
        self.notes += [
            f"{where}.{key} is not taken along"
            for key, value in found.items()
            if key not in taken and is_set(value)
        ]


def is_set(value: object) -> bool:
    """Whether a value says something: false, 0, and what is empty are Go's defaults."""
    return bool(value)


def text(draft: Draft) -> str:
    """Return the configuration file, with the notes as comments.

    Raises:
        ValueError: the original has no source of a kind that there is here.
    """
    if not draft.sources:
        reasons = "; ".join(draft.notes) or "it names no registry"
        raise ValueError(f"nothing to import: {reasons}")
    parts = {
        "sources": draft.sources,
        "rules": draft.rules,
        "defaults": draft.defaults,
        "outputs": draft.outputs,
    }
    lines = [f"# Made of {draft.origin}.", *(f"# - {note}" for note in draft.notes)]
    body = dump([{key: value for key, value in parts.items() if value}]).removeprefix("---\n")
    return "\n".join([*lines, body])


def split_host(text: str, default_port: int) -> str:
    """Return HOST:PORT of an address that may lack the port, and may be a URL."""
    netloc = urlsplit(text if "://" in text else f"//{text}").netloc.rpartition("@")[2]
    has_port = netloc.rpartition("]")[2].rpartition(":")[1]
    return netloc if has_port else f"{netloc}:{default_port}"


def items(value: object) -> list[Mapped]:
    """Return the mappings of a list; anything else has none."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """Return the texts of a list; anything else has none."""
    return [item for item in value if item and isinstance(item, str)] if isinstance(value, list) else []
