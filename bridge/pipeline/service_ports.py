"""The ports of a mesh service, from those of its instances.

The number of a port is the one a rule or the registry chose, else that of the source listed first: the one
all its instances have, else the smallest of theirs. Its protocol is that of the source listed first; where
that source's instances differ, Istio finds out. Instances that are not served count too, so that a port
does not change when an instance comes or goes.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from meshbridge.bridge.pipeline.conflicts import (
    Conflict,
    Contribution,
    number_conflict,
    port_conflicts,
)
from meshbridge.bridge.pipeline.values import ServiceSettings
from meshbridge.schemas.istio import ServicePort
from meshbridge.schemas.registry import Note, Port, ServiceKey

_Said = dict[ServiceKey, dict[Port, None]]
"""What each contribution says of the port of one name."""


def service_ports(
    contributions: Sequence[Contribution], settings: ServiceSettings
) -> tuple[tuple[ServicePort, ...], list[Note], Iterator[Conflict]]:
    """Return the ports, by number, what had to be decided, and where sources disagree."""
    said = _said(contributions)
    chosen = dict(settings.service_ports)
    ports: dict[int, ServicePort] = {}
    notes: list[Note] = []
    taken: list[Conflict] = []
    for name in _in_order(said, contributions):
        first = _of_first_source(said[name])
        number = chosen.get(name) or min(port.number for port in first)
        protocol, remarks = _protocol(name, first, settings)
        notes.extend(remarks)
        notes.extend(() if name in chosen else _number_notes(name, number, first))
        if number not in ports:
            ports[number] = ServicePort(number=number, name=name, protocol=protocol)
            continue
        winner = ports[number]
        holder, loser = next(iter(said[winner.name])), next(iter(said[name]))
        if holder.source == loser.source:
            notes.append(Note(name, f"its port {number} is taken by {winner.name}; left out"))
        else:
            wanted = ServicePort(number=number, name=name, protocol=protocol)
            taken.append(number_conflict(winner, holder, wanted, loser))
    made = {port.name: port for port in ports.values()}
    conflicts = itertools.chain(taken, _conflicts(said, made, chosen))
    return tuple(ports[number] for number in sorted(ports)), notes, conflicts


def _in_order(said: Mapping[str, _Said], contributions: Sequence[Contribution]) -> Iterable[str]:
    """Return the names, those of the source listed first first."""
    ranks: dict[str, int] = {}
    for contribution in contributions:
        ranks.setdefault(contribution.group.source, len(ranks))
    if len(ranks) == 1:
        return sorted(said)
    return sorted(said, key=lambda name: (ranks[next(iter(said[name])).source], name))


def _said(contributions: Sequence[Contribution]) -> dict[str, _Said]:
    found: dict[str, _Said] = {}
    for contribution in contributions:
        for shape in dict.fromkeys([member.ports for member in contribution.members]):
            for port in shape:
                found.setdefault(port.name, {}).setdefault(contribution.group, {})[port] = None
    return found


def _of_first_source(said: _Said) -> list[Port]:
    """Return what the source listed first says of a port, in the order of its services."""
    source = next(iter(said)).source
    return list(
        dict.fromkeys(port for group, ports in said.items() if group.source == source for port in ports)
    )


def _protocol(name: str, ports: Sequence[Port], settings: ServiceSettings) -> tuple[str, list[Note]]:
    words = list(dict.fromkeys(port.protocol for port in ports))
    if len(words) == 1:
        return words[0], []
    found = ", ".join(word or "auto" for word in words)
    if settings.more_hosts:  # Several hosts need a protocol that names its host.
        return words[0], [Note(name, f"instances have protocols {found}; the service gets the first")]
    return "", [Note(name, f"instances have protocols {found}; proxies find out: set `protocol` in a rule")]


def _number_notes(name: str, number: int, ports: Sequence[Port]) -> list[Note]:
    numbers = sorted({port.number for port in ports})
    if len(numbers) == 1:
        return []
    found = ", ".join(map(str, numbers[:5]))
    return [Note(name, f"instances have ports {found}; the service gets {number}: set `ports` in a rule")]


def _conflicts(
    said: Mapping[str, _Said], made: Mapping[str, ServicePort], chosen: Mapping[str, int]
) -> Iterator[Conflict]:
    """Yield where a source listed later says something else of a port."""
    for name in made:
        winner = next(iter(said[name]))
        later = {group: ports for group, ports in said[name].items() if group.source != winner.source}
        if not later:
            continue
        port = made[name]
        if name not in chosen:
            numbers = {
                group: dict.fromkeys(str(one.number) for one in ports) for group, ports in later.items()
            }
            yield from port_conflicts(name, "port", numbers, str(port.number), str(winner))
        words = {
            group: dict.fromkeys(one.protocol or "auto" for one in ports) for group, ports in later.items()
        }
        yield from port_conflicts(name, "protocol", words, port.protocol or "auto", str(winner))
