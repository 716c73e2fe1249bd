"""What every inventory format is turned into: records, and problems with the place they were found.

A parser fills a `Draft` for each record it finds and hands it to a `Collector`, which holds it against the
rules all formats share and sorts it into the good and the refused. Nothing here knows a file format.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from meshbridge.adapters.inventory.formats import checks
from meshbridge.adapters.inventory.formats.checks import Reason, Refused
from meshbridge.schemas.istio import Spec
from meshbridge.schemas.registry import Health, Instance, Labels, Port, labels


class Format(StrEnum):
    """How a document is written."""

    AUTO = "auto"
    ISTIO = "istio"
    MESHBRIDGE = "meshbridge"
    CSV = "csv"
    FILE_SD = "file_sd"
    ANSIBLE = "ansible"


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Something that could not be taken as it was written."""

    place: str
    """`file:line`, or the file and the record's position in it."""
    reason: Reason
    text: str
    service: str = ""
    """The service it belongs to, "" when it can't be told."""
    marks: tuple[str, ...] = ()
    """What the refused record can be recognised by, strongest first; empty when nothing was refused."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One instance of a service, as one document tells it."""

    service: str
    instance: Instance
    place: str

    @property
    def marks(self) -> tuple[str, ...]:
        """What the record can be recognised by when it turns bad, strongest first."""
        return (
            self.instance.id,
            self.instance.id.rpartition("/")[0],
            f"{self.place} {self.service}",
            self.place,
        )


class Configured(msgspec.Struct, frozen=True, gc=False):
    """One Istio resource of a document; those of one namespace are joined across documents."""

    kind: str
    namespace: str
    name: str
    spec: Spec
    place: str
    document: str
    labels: Labels = ()
    annotations: Labels = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """What the resource can be recognised by when it turns bad."""
        return (f"{self.kind} {self.namespace}/{self.name}", self.place)


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """A document that could be read."""

    records: tuple[Record, ...] = ()
    services: Mapping[str, Labels] = msgspec.field(default_factory=dict)
    """Attributes of the services it declares, with or without instances. Never mutated."""
    resources: tuple[Configured, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_meant_empty: bool = False
    """Whether the document says `empty: true`."""

    @property
    def has_content(self) -> bool:
        """Whether it lists anything at all."""
        return bool(self.records or self.resources)


class Draft(msgspec.Struct, kw_only=True):
    """A record before it is checked; values are as the document has them."""

    service: str
    address: object
    host: str = ""
    """Name of the machine where it differs from the address; part of the identity."""
    ports: Mapping[str, object] = msgspec.field(default_factory=dict)
    """Numbers by port name; the name "" takes its name from the protocol."""
    protocol: object = None
    protocols: Mapping[str, object] = msgspec.field(default_factory=dict)
    """Protocols by port name, where they differ."""
    version: object = None
    region: object = None
    zone: object = None
    locality: object = None
    weight: object = None
    labels: Mapping[str, object] = msgspec.field(default_factory=dict)
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    network: object = None
    service_account: object = None
    health: object = None


class Collector:
    """What a parser has found so far in one document."""

    def __init__(self, document: str) -> None:
        self.document = document
        self._records: list[Record] = []
        self._services: dict[str, Labels] = {}
        self._declared: dict[str, str] = {}
        self._resources: list[Configured] = []
        self._problems: list[Problem] = []

    def declare(self, service: str, attributes: Mapping[str, str], place: str) -> None:
        """Note that the document has this service; of several declarations the first counts."""
        first = self._declared.setdefault(service, place)
        if first is not place:
            text = f"service {service!r} is at {first} too: instances are joined, settings there count"
            self.remark(place, Reason.DUPLICATE, text, service)
            return
        self._services[service] = labels({key: value for key, value in attributes.items() if value})

    def add(self, draft: Draft, place: str) -> None:
        """Take a record, or note why not."""
        try:
            instance, remarks = _instance(draft, self.document)
        except Refused as error:
            self.refuse(place, _naming(draft, error), draft.service, _marks(draft))
            return
        self._services.setdefault(draft.service, ())
        self._records.append(Record(draft.service, instance, place))
        for text in remarks:
            self.remark(place, Reason.LABEL, text, draft.service)

    def keep(self, resource: Configured) -> None:
        """Take an Istio resource."""
        self._resources.append(resource)

    def refuse(self, place: str, error: Refused, service: str = "", marks: tuple[str, ...] = ()) -> None:
        """Note a record that can't be taken."""
        # Another service's record on the same line is another record.
        last = f"{place} {service}" if service else place
        self._problems.append(Problem(place, error.reason, error.text, service, (*marks, last)))

    def remark(self, place: str, reason: Reason, text: str, service: str = "") -> None:
        """Note something that was left out of a record that is kept."""
        self._problems.append(Problem(place, reason, text, service))

    def parsed(self) -> Parsed:
        """Return everything found."""
        return Parsed(
            tuple(self._records), self._services, tuple(self._resources), tuple(self._problems), False
        )


def _marks(draft: Draft) -> tuple[str, ...]:
    host = draft.host or checks.as_text(draft.address)
    if not (draft.service and host):
        return ()
    named = f"{draft.service}/{checks.bare_address(host)}"
    numbers = sorted(number for number in draft.ports.values() if isinstance(number, int))
    return (*(f"{named}/{number}" for number in numbers[:1]), named)


def _naming(draft: Draft, error: Refused) -> Refused:
    """Return the error with the record's address, by which people look for it."""
    if error.reason in (Reason.SERVICE, Reason.ADDRESS):
        return error  # The address says nothing, or stands there already.
    return Refused(error.reason, f"{checks.as_text(draft.address)}: {error.text}")


def _instance(draft: Draft, document: str) -> tuple[Instance, list[str]]:
    """Return the checked instance, and a sentence for every label that was left out."""
    service = checks.service(draft.service)
    address = checks.address(draft.address)
    host = checks.word(draft.host, "host")
    ports = _ports(draft)
    weight = checks.weight(draft.weight)
    health = Health.DRAINING if weight == 0 else checks.health(draft.health)
    wanted = {key: value for key, value in draft.labels.items() if value is not None}
    version = checks.as_text(draft.version)
    if version:
        wanted["version"] = version
    kept, remarks = checks.labels(wanted)
    instance = Instance(
        id=f"{service}/{host or address}/{min(port.number for port in ports)}",
        address=address,
        ports=ports,
        labels=labels(kept),
        metadata=labels({"document": document, **draft.metadata}),
        locality=_locality(draft),
        network=checks.word(draft.network, "network"),
        weight=weight,
        health=health,
        service_account=checks.word(draft.service_account, "service_account"),
    )
    return instance, remarks


def _ports(draft: Draft) -> tuple[Port, ...]:
    common = checks.protocol(draft.protocol)
    if not draft.ports:
        raise Refused(Reason.PORT, "it has no port")
    found = []
    for name, number in draft.ports.items():
        own = checks.protocol(draft.protocols.get(name))
        if len(draft.ports) == 1:
            spoken = own or common or checks.protocol_of_port_name(name)
        else:
            spoken = own or checks.protocol_of_port_name(name) or common
        found.append(Port(name and checks.port_name(name), checks.port(number), spoken))
    return tuple(sorted(found))


def _locality(draft: Draft) -> str:
    whole = checks.word(draft.locality, "locality")
    if whole:
        return whole
    zone = checks.word(draft.zone, "zone")
    region = checks.word(draft.region, "region")
    return f"{region}/{zone}" if zone else region
