"""meshbridge's own format: services with their instances, as YAML or JSON. The README has the schema."""

import difflib
from collections.abc import Iterable, Mapping

from meshbridge.adapters.inventory.formats import checks
from meshbridge.adapters.inventory.formats.checks import Reason, Refused
from meshbridge.adapters.inventory.formats.record import Collector, Draft, Parsed
from meshbridge.adapters.inventory.formats.text import place
from meshbridge.schemas.errors import PayloadError

_TOP = ("services", "empty")
_PORTS = ("port", "ports", "protocol")
_INHERITED = ("labels", "version", "region", "zone", "weight", "network", "service_account")
_SERVICE = ("name", "host", "namespace", "instances", *_PORTS, *_INHERITED)
_INSTANCE = ("address", "host", "health", *_PORTS, *_INHERITED)


def parse(documents: Iterable[object], document: str) -> Parsed:
    """Return the records of the documents of one file.

    Raises:
        PayloadError: there is no list of services.
    """
    found = Collector(document)
    for root in documents:
        if not isinstance(root, Mapping):
            raise PayloadError(document, f"a mapping with `services` is needed, not {checks.shown(root)}")
        _remark_unknown(root, _TOP, place(document, root, "top"), "", found)
        services = root.get("services")
        if services is not None and not isinstance(services, list):
            raise PayloadError(place(document, root, "top"), "`services` must be a list")
        for index, service in enumerate(services or []):
            _service(service, f"services[{index}]", found)
    return found.parsed()


def unknown_key(key: str, known: Iterable[str], what: str) -> str:
    """Return the sentence about a key nobody knows."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"unknown {what} {checks.shown(key)} is ignored" + (
        f"; did you mean {close[0]!r}?" if close else ""
    )


def _service(service: object, position: str, found: Collector) -> None:
    where = place(found.document, service, position)
    try:
        if not isinstance(service, Mapping):
            raise Refused(Reason.FIELD, f"a service is a mapping, not {checks.shown(service)}")  # noqa: TRY301 - one exit
        name = checks.service(service.get("name"))
        attributes = {key: checks.word(service.get(key), key) for key in ("host", "namespace")}
        attributes["protocol"] = checks.protocol(service.get("protocol"))
        instances = _list(service.get("instances"))
    except Refused as error:
        found.refuse(where, error)
        return
    _remark_unknown(service, _SERVICE, where, name, found)
    found.declare(name, attributes, where)
    for text in checks.altered_names(attributes["host"], attributes["namespace"]):
        found.remark(where, Reason.FIELD, text, name)
    for index, instance in enumerate(instances):
        _instance(name, service, instance, f"{position}.instances[{index}]", found)


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(Reason.FIELD, f"instances is a list, not {checks.shown(value)}")
    return value


def _instance(
    name: str, service: Mapping[str, object], instance: object, position: str, found: Collector
) -> None:
    where = place(found.document, instance, position)
    if not isinstance(instance, Mapping):
        error = Refused(Reason.FIELD, f"an instance is a mapping, not {checks.shown(instance)}")
        found.refuse(where, error, name)
        return
    _remark_unknown(instance, _INSTANCE, where, name, found)
    value = {key: instance.get(key, service.get(key)) for key in (*_INHERITED, "protocol")}
    draft = Draft(
        service=name,
        address=instance.get("address"),
        host=checks.as_text(instance.get("host")),
        protocol=value["protocol"],
        version=value["version"],
        region=value["region"],
        zone=value["zone"],
        weight=value["weight"],
        network=value["network"],
        service_account=value["service_account"],
        health=instance.get("health"),
    )
    try:
        draft.ports = _ports(instance) or _ports(service)
        draft.labels = _mapping(service.get("labels"), "labels") | _mapping(instance.get("labels"), "labels")
    except Refused as error:
        found.refuse(where, error, name, tuple(f"{name}/{x}" for x in (draft.host, draft.address) if x))
        return
    found.add(draft, where)


def _ports(value: Mapping[str, object]) -> dict[str, object]:
    if value.get("ports") is not None:
        return _mapping(value["ports"], "ports")
    return {"": value["port"]} if value.get("port") is not None else {}


def _mapping(value: object, field: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(Reason.FIELD, f"{field} is a mapping, not {checks.shown(value)}")
    return {str(key): item for key, item in value.items()}


def _remark_unknown(
    value: Mapping[str, object], known: Iterable[str], where: str, service: str, found: Collector
) -> None:
    for key in value:
        if key not in known:
            found.remark(where, Reason.UNKNOWN_KEY, unknown_key(key, known, "key"), service)
