"""Instances from what processes offer: one instance for each process, with a port for each protocol.

An Istio service has the same ports on every endpoint, so a process that offers an interface as `dubbo` and
as `tri` must be one instance with two ports, not two instances with one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

import msgspec

from meshbridge.adapters.zookeeper.layouts import fields
from meshbridge.schemas.registry import Health, Instance, Labels, Port, labels

DEFAULT_WEIGHT = 100
"""What Dubbo takes where no weight is given."""

# New at every start, or about the node rather than the provider; a ramp needs the time of the start.
_VOLATILE = ("pid", "timestamp", "anyhost", "dynamic", "side", "category", "enabled", "disabled", "register")
# True of one interface only, so of no application.
_OF_INTERFACE = ("interface", "methods", "group", "version", "service.name", "revision", "path")


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What an offer says besides where it is: the same for most instances of a service, and then shared."""

    application: str
    interface: str
    group: str
    version: str
    labels: Labels
    metadata: Labels
    locality: str
    weight: int
    """In Dubbo's units."""
    is_enabled: bool
    """Whether it takes traffic."""
    tls: bool
    is_dynamic: bool
    """Whether its node lives and dies with the process, as far as the parameters say."""


def terms(parameters: Mapping[str, str], *, of_application: bool = False) -> Terms:
    """Return what the parameters say, which are those after all rules."""
    known = _metadata(parameters, of_application=of_application)
    weight = fields.weight(parameters.get("weight"), DEFAULT_WEIGHT)
    is_enabled = parameters.get("enabled", "true").lower() != "false"
    return Terms(
        application=parameters.get("application", ""),
        interface=parameters.get("interface", ""),
        group=parameters.get("group", ""),
        version=parameters.get("version", ""),
        labels=fields.mesh_labels({"tag": known.get("dubbo.tag", ""), "version": known.get("version", "")}),
        metadata=labels(known),
        locality=fields.locality(known),
        weight=DEFAULT_WEIGHT if weight is None else weight,
        is_enabled=is_enabled and not fields.is_true(parameters.get("disabled")),
        tls=fields.is_true(parameters.get("ssl-enabled")),
        # Dubbo's default, and left out by simplified registration.
        is_dynamic=parameters.get("dynamic", "true").lower() != "false",
    )


class Offer(msgspec.Struct, frozen=True, gc=False):
    """One port of one process, as one record tells it, after the rules."""

    protocol: str
    host: str
    """A checked address or name."""
    port: int
    terms: Terms
    is_alive: bool
    """Whether its node lives and dies with the process."""


def instances(offers: Iterable[Offer]) -> list[Instance]:
    """Return the processes that the offers come from, each as one instance.

    Args:
        offers: of one service, in an order that follows from their names.
    """
    given = list(offers)
    if len({(offer.host, offer.terms.application) for offer in given}) == len(given):
        return [_alone(offer) for offer in given]  # Nearly every service.
    ports: dict[tuple[str, str, int], list[Offer]] = defaultdict(list)
    for offer in sorted(given, key=_order):
        ports[offer.host, offer.terms.application, offer.port].append(offer)
    processes: dict[tuple[str, str], list[list[Offer]]] = defaultdict(list)
    for (host, application, _), same in ports.items():
        processes[host, application].append(same)
    return [_instance(process) for found in processes.values() for process in _split(found)]


def _order(offer: Offer) -> tuple[str, int, str]:
    return offer.protocol, offer.port, offer.terms.interface


def _split(ports: Iterable[list[Offer]]) -> list[list[list[Offer]]]:
    """Return the ports of one machine by process: the first of each protocol, the second of each, ..."""
    by_protocol: dict[str, list[list[Offer]]] = defaultdict(list)
    for same in ports:
        by_protocol[same[0].protocol].append(same)
    return [[port for port in row if port] for row in zip_longest(*by_protocol.values(), fillvalue=[])]


def _alone(offer: Offer) -> Instance:
    """Return what `_instance` does for a process with one port."""
    told = offer.terms
    is_in = told.weight > 0 and told.is_enabled
    alive = Health.READY if offer.is_alive else Health.UNKNOWN
    return Instance(
        id=f"{offer.protocol}/{offer.host}:{offer.port}",
        address=offer.host,
        ports=_only(offer.protocol, offer.port, told.tls),
        labels=told.labels,
        metadata=told.metadata,
        locality=told.locality,
        weight=told.weight,
        health=alive if is_in else Health.DRAINING,
    )


def _instance(process: Sequence[Sequence[Offer]]) -> Instance:
    first = process[0][0]
    told = first.terms
    served = [offer for same in process for offer in same if offer.terms.is_enabled] or process[0]
    weight = max(offer.terms.weight for offer in served)
    return Instance(
        id=f"{first.protocol}/{first.host}:{first.port}",
        address=first.host,
        ports=_shared(tuple(sorted(map(_port, process)))),
        labels=told.labels,
        metadata=told.metadata,
        locality=told.locality,
        weight=weight,
        health=_health(process, served, weight),
    )


def _health(process: Sequence[Sequence[Offer]], served: Sequence[Offer], weight: int) -> Health:
    # Istio can't leave out one port of an endpoint: where one takes no traffic, the process does not.
    if weight == 0 or not all(any(offer.terms.is_enabled for offer in same) for same in process):
        return Health.DRAINING
    return Health.READY if any(offer.is_alive for offer in served) else Health.UNKNOWN


def _port(same: Sequence[Offer]) -> Port:
    return _only(same[0].protocol, same[0].port, same[0].terms.tls)[0]


@lru_cache(maxsize=4096)
def _only(protocol: str, number: int, tls: bool) -> tuple[Port, ...]:
    return (Port(protocol, number, protocol, tls),)


@lru_cache(maxsize=4096)
def _shared(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Return one tuple for all that are equal: most processes of a service have the same ports."""
    return ports


def _metadata(parameters: Mapping[str, str], *, of_application: bool) -> dict[str, str]:
    left_out = (*_VOLATILE, *_OF_INTERFACE) if of_application else _VOLATILE
    known = fields.metadata((key, value) for key, value in parameters.items() if key not in left_out)
    if "warmup" in known and parameters.get("timestamp", "").isdigit():
        known["timestamp"] = parameters["timestamp"][:20]
    return known
