"""Where contributions to one mesh service disagree: who wins, and why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from meshbridge.bridge.pipeline.values import Member, ServiceSettings
from meshbridge.schemas.istio import ServicePort
from meshbridge.schemas.registry import Note, ServiceKey

CONFLICT_KINDS = ("identity", "port", "protocol", "settings")
"""What `Conflict.kind` may be."""
MAX_CONFLICTS = 20
"""Conflicts that are kept of one service."""

_FIRST = "its source is listed first"


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What one registry service gives to one mesh service; `members` is never empty."""

    group: ServiceKey
    members: tuple[Member, ...]


class Conflict(msgspec.Struct, frozen=True, order=True, gc=False):
    """One thing that two contributions say differently of one mesh service."""

    kind: str
    """port, protocol, identity, or settings."""
    field: str
    winner: str
    """Who decides: `source/service`, with the instance where it is about one."""
    value: str
    loser: str
    other: str
    """What the loser wants instead."""
    why: str

    def note(self) -> Note:
        """Return it for people."""
        text = f"it wants {self.field} {self.other}; {self.value} of {self.winner} wins: {self.why}"
        return Note(self.loser, text)


def settings_conflicts(contributions: Sequence[Contribution]) -> Iterator[Conflict]:
    """Yield what later contributions want otherwise for the service as a whole."""
    first = contributions[0]
    wanted = first.members[0].settings
    others: dict[ServiceSettings, list[ServiceKey]] = {}
    for contribution in contributions[1:]:
        settings = contribution.members[0].settings
        if settings is not wanted and settings != wanted:
            others.setdefault(settings, []).append(contribution.group)
    for settings, groups in others.items():
        for field in ServiceSettings.__struct_fields__:
            value, other = _shown(wanted, field), _shown(settings, field)
            if value != other:
                yield Conflict("settings", field, str(first.group), value, _named(groups), other, _FIRST)


def port_conflicts(
    name: str, kind: str, said: Mapping[ServiceKey, Iterable[str]], chosen: str, winner: str
) -> Iterator[Conflict]:
    """Yield what contributions say of a port that is not what was chosen.

    Args:
        name: the port's.
        kind: port (its number) or protocol.
        said: what each contribution says.
        chosen: what counts.
        winner: who decided that.
    """
    others: dict[str, list[ServiceKey]] = {}
    for group, values in said.items():
        for value in values:
            if value != chosen:
                others.setdefault(value, []).append(group)
    for other, groups in others.items():
        yield Conflict(kind, f"{kind} {name}", winner, chosen, _named(groups), other, _FIRST)


def number_conflict(winner: ServicePort, of: ServiceKey, loser: ServicePort, by: ServiceKey) -> Conflict:
    """Return that two sources use one number for ports of different names."""
    value, other = (f"{port.name} {port.protocol or 'auto'}" for port in (winner, loser))
    return Conflict("port", f"port {winner.number}", str(of), value, str(by), other, _FIRST)


def identity_conflict(winner: Member, of: ServiceKey, loser: Member, by: ServiceKey) -> Conflict:
    """Return that two sources know one endpoint under different service accounts."""
    return Conflict(
        "identity",
        "service account",
        f"{of} {winner.id}",
        winner.service_account or "none",
        f"{by} {loser.id}",
        loser.service_account or "none",
        _FIRST if winner.health.is_served == loser.health.is_served else "it is ready",
    )


def _shown(settings: ServiceSettings, field: str) -> str:
    value = getattr(settings, field)
    if isinstance(value, tuple):
        return (
            ", ".join(item if isinstance(item, str) else f"{item[0]} {item[1]}" for item in value) or "none"
        )
    return str(value or "none")


def _named(groups: Sequence[ServiceKey]) -> str:
    more = len(groups) - 1
    return f"{groups[0]} and {more} more" if more else str(groups[0])
