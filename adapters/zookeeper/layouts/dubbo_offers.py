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
from meshbridge.schemas.registry import Health, Instance, Port, labels

DEFAULT_WEIGHT = 100
"""What Dubbo takes where no weight is given."""

# New at every start, or about the node rather than the provider; a ramp needs the time of the start.
_VOLATILE = ("pid", "timestamp", "anyhost", "dynamic", "side", "category", "enabled", "disabled", "register")
# True of one interface only, so of no application.
_OF_INTERFACE = ("interface", "methods", "group", "version", "service.name", "revision", "path")


class Offer(msgspec.Struct, frozen=True, gc=False):
    """One port of one process, as one record tells it, after the rules. `parameters` is never mutated."""

    protocol: str
    host: str
    """A checked address or name."""
    port: int
    application: str
    parameters: Mapping[str, str]
    is_alive: bool = True
    """Whether its node lives and dies with the process."""

    @property
    def is_enabled(self) -> bool:
        """Whether it takes traffic."""
        return not fields.is_true(self.parameters.get("disabled")) and (
            self.parameters.get("enabled", "true").lower() != "false"
        )

    @property
    def weight(self) -> int:
        """Its weight in Dubbo's units."""
        found = fields.weight(self.parameters.get("weight"), DEFAULT_WEIGHT)
        return DEFAULT_WEIGHT if found is None else found


def instances(offers: Iterable[Offer], *, of_application: bool = False) -> list[Instance]:
    """Return the processes that the offers come from, each as one instance.

    Args:
        offers: of one service, in an order that follows from their names.
        of_application: whether the service is an application, with offers of all its interfaces.
    """
    ports: dict[tuple[str, str, int], list[Offer]] = defaultdict(list)
    for offer in sorted(offers, key=_order):
        ports[offer.host, offer.application, offer.port].append(offer)
    processes: dict[tuple[str, str], list[list[Offer]]] = defaultdict(list)
    for (host, application, _), same in ports.items():
        processes[host, application].append(same)
    return [
        _instance(process, of_application=of_application)
        for found in processes.values()
        for process in _split(found)
    ]


def _order(offer: Offer) -> tuple[str, int, str]:
    return offer.protocol, offer.port, offer.parameters.get("interface", "")


def _split(ports: Iterable[list[Offer]]) -> list[list[list[Offer]]]:
    """Return the ports of one machine by process: the first of each protocol, the second of each, ..."""
    by_protocol: dict[str, list[list[Offer]]] = defaultdict(list)
    for same in ports:
        by_protocol[same[0].protocol].append(same)
    return [[port for port in row if port] for row in zip_longest(*by_protocol.values(), fillvalue=[])]


def _instance(process: Sequence[Sequence[Offer]], *, of_application: bool) -> Instance:
    first = process[0][0]
    served = [offer for same in process for offer in same if offer.is_enabled] or process[0]
    known = _metadata(first.parameters, of_application=of_application)
    weight = max(offer.weight for offer in served)
    mesh = {"tag": known.get("dubbo.tag", ""), "version": known.get("version", "")}
    return Instance(
        id=f"{first.protocol}/{first.host}:{first.port}",
        address=first.host,
        ports=_shared(tuple(sorted(map(_port, process)))),
        labels=fields.mesh_labels(mesh),
        metadata=labels(known),
        locality=fields.locality(known),
        weight=weight,
        health=_health(process, served, weight),
    )


def _health(process: Sequence[Sequence[Offer]], served: Sequence[Offer], weight: int) -> Health:
    # Istio can't leave out one port of an endpoint: where one takes no traffic, the process does not.
    if weight == 0 or not all(any(offer.is_enabled for offer in same) for same in process):
        return Health.DRAINING
    return Health.READY if any(offer.is_alive for offer in served) else Health.UNKNOWN


def _port(same: Sequence[Offer]) -> Port:
    offer = same[0]
    return Port(
        offer.protocol, offer.port, offer.protocol, fields.is_true(offer.parameters.get("ssl-enabled"))
    )


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
