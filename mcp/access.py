"""Who may see what: identities of client certificates, and the list of those allowed. No I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from typing_extensions import override

from meshbridge.mcp.view import EVERYTHING, Scope, Scopes


class Identity(msgspec.Struct, frozen=True):
    """What a client's certificate says of it; empty without a certificate."""

    spiffe: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """The other subject alternative names: DNS names, addresses."""
    common_name: str = ""

    @override
    def __str__(self) -> str:
        return next(iter((*self.spiffe, *self.names)), self.common_name)


def identity(auth_context: Mapping[str, Iterable[bytes]]) -> Identity:
    """Return what gRPC knows of a peer's certificate."""

    def texts(key: str) -> list[str]:
        return [value.decode(errors="replace") for value in auth_context.get(key) or ()]

    names = texts("x509_subject_alternative_name")
    return Identity(
        spiffe=tuple(name for name in names if name.startswith("spiffe://")),
        names=tuple(name for name in names if not name.startswith("spiffe://")),
        common_name="".join(texts("x509_common_name")[:1]),
    )


class AllowRule(msgspec.Struct, frozen=True):
    """Clients, by one pattern, and what they may see.

    `*` stands for any characters but the separator: `/` in a SPIFFE id, `.` in a SAN.
    """

    spiffe: str = ""
    san: str = ""
    common_name: str = ""
    scope: Scope = Scope()

    def matches(self, client: Identity) -> bool:
        """Whether the rule is about this client."""
        if self.spiffe:
            return any(_fits(self.spiffe, name, "/") for name in client.spiffe)
        if self.san:
            return any(_fits(self.san.lower(), name.lower(), ".") for name in client.names)
        return bool(client.common_name) and _fits(self.common_name, client.common_name, "")


def scopes_for(client: Identity, rules: Sequence[AllowRule]) -> Scopes:
    """Return what all rules about a client allow together, nothing if there is none; no rules allow all."""
    if not rules:
        return EVERYTHING
    found = frozenset(rule.scope for rule in rules if rule.matches(client))
    return EVERYTHING if Scope() in found else found


def _fits(pattern: str, text: str, separator: str) -> bool:
    wild = f"[^{separator}]*" if separator else ".*"
    return re.fullmatch(wild.join(map(re.escape, pattern.split("*"))), text) is not None
