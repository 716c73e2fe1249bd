"""What `meshbridge get` can list: names, aliases, table columns. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from meshbridge.bridge.cli.output import Row, age

Item = Mapping[str, Any]
"""An item of a list, as the admin interface gives it."""

_RESOURCE_HEADERS = ("PORTS", "READY/TOTAL", "SOURCE", "AGE")


class Listing(NamedTuple):
    """One kind of things."""

    name: str
    """As in /api/v1/."""
    singular: str
    aliases: tuple[str, ...]
    headers: tuple[str, ...]
    row: Callable[[Item, float], Row]
    """Table cells of an item, at a Unix time."""
    identity: Callable[[Item], str]
    """`ns/name` or name, unique in the list."""
    is_resource: bool = False
    volatile: frozenset[str] = frozenset()
    """Keys whose change is not worth a line of --watch."""
    poll_seconds: float = 60.0
    """How long --watch waits for a publication before it looks all the same."""


def find(word: str) -> Listing | None:
    """Return what a word of the command line means, None when it means nothing."""
    word = word.lower()
    return next((kind for kind in LISTINGS if word in (kind.name, kind.singular, *kind.aliases)), None)


def words() -> list[str]:
    """Return every word that means something."""
    return [word for kind in LISTINGS for word in (kind.name, kind.singular, *kind.aliases)]


def _service_entry_row(item: Item, now: float) -> Row:
    spec = item["object"]["spec"]
    ports = (f"{port['number']}/{_protocol(port)}" for port in spec.get("ports", ()))
    return _resource_row(item, now, spec.get("hosts", ()), ports)


def _workload_entry_row(item: Item, now: float) -> Row:
    spec = item["object"]["spec"]
    return _resource_row(item, now, [spec.get("address", "")], _target_ports(spec))


def _workload_group_row(item: Item, now: float) -> Row:
    template = item["object"]["spec"].get("template", {})
    return _resource_row(item, now, [template.get("serviceAccount", "")], _target_ports(template))


def _resource_row(item: Item, now: float, third: Iterable[str], ports: Iterable[str]) -> Row:
    meta = item["object"]["metadata"]
    return [
        meta["namespace"],
        meta["name"],
        ",".join(third),
        ",".join(ports),
        f"{item['ready']}/{item['total']}",
        ",".join(item["sources"]),
        age(item["created"], now),
    ]


def _protocol(port: Item) -> str:
    return str(port.get("protocol") or "auto").lower()


def _target_ports(spec: Item) -> list[str]:
    return [f"{number}/{name}" for name, number in spec.get("ports", {}).items()]


def _service_row(item: Item, now: float) -> Row:
    return [
        item["namespace"],
        item["name"],
        item["host"],
        ",".join(item["ports"]),
        f"{item['ready']}/{item['total']}",
        str(item["held"]),
        _service_state(item),
        str(len(item["problems"])),
        ",".join(item["sources"]),
        age(item["created"] or None, now),
    ]


def _service_state(item: Item) -> str:
    if item["quarantined"]:
        return "quarantined"
    return "served" if item["created"] else "waiting"  # Nothing is published before the gate is open.


def _conflict_row(item: Item, now: float) -> Row:
    del now  # A conflict has no age.
    wins = f"{item['value']} of {item['winner']}"
    loses = f"{item['other']} of {item['loser']}"
    return [item["namespace"], item["host"], item["field"], wins, loses, item["why"]]


def _source_row(item: Item, now: float) -> Row:
    numbers = [str(item[key]) for key in ("services", "instances", "held")]
    return [item["name"], item["kind"], item["state"], *numbers, age(item["lastSuccess"], now)]


def _client_row(item: Item, now: float) -> Row:
    types = item["types"]
    synced = sum(1 for found in types if found["version"] == found["acked"] != "")
    latencies = [found["latencySeconds"] for found in types if found["latencySeconds"] is not None]
    return [
        item["id"],
        item["address"],
        item["revision"],
        age(item["connected"], now),
        f"{synced}/{len(types)}",
        str(sum(found["nacks"] for found in types)),
        f"{max(latencies) * 1000:.0f}ms" if latencies else "",
        next((found["nackText"] for found in types if found["nackText"]), ""),
    ]


def _output_row(item: Item, now: float) -> Row:
    troubles = ", ".join(f"{count} {reason}" for reason, count in sorted(item["troubles"].items()))
    return [
        item["name"],
        item["state"],
        age(item["since"], now),
        item["leader"],
        *(str(item[key]) for key in ("wanted", "owned", "pending")),
        item["error"] or troubles,
    ]


def _instance_row(item: Item, _now: float) -> Row:
    return [
        item["source"],
        item["service"],
        item["id"],
        item["address"],
        ",".join(item["ports"]),
        f"{item['health']}, held" if item["held"] else item["health"],
        "" if item["weight"] is None else str(item["weight"]),
        item["labels"].get("version", ""),
        item["locality"],
    ]


def _held_row(item: Item, now: float) -> Row:
    named = [str(item[key]) for key in ("source", "service", "id", "address")]
    return [*named, age(item["since"], now), _CAUSES.get(item["cause"]) or str(item["cause"])]


_CAUSES = {
    "source": "the source lost too many at once",
    "emptied": "a full read of the source found nothing",
    "overall": "all sources together lost too many at once",
}


def _quarantine_row(item: Item, _now: float) -> Row:
    served = "yes" if item["lastValid"] else "no"
    return [item["namespace"], item["host"], item["endpoint"], served, item["reason"]]


def _resource_identity(item: Item) -> str:
    meta = item["object"]["metadata"]
    return f"{meta['namespace']}/{meta['name']}"


LISTINGS = (
    Listing(
        name="serviceentries",
        singular="serviceentry",
        aliases=("se",),
        headers=("NAMESPACE", "NAME", "HOSTS", *_RESOURCE_HEADERS),
        row=_service_entry_row,
        identity=_resource_identity,
        is_resource=True,
    ),
    Listing(
        name="workloadentries",
        singular="workloadentry",
        aliases=("we",),
        headers=("NAMESPACE", "NAME", "ADDRESS", *_RESOURCE_HEADERS),
        row=_workload_entry_row,
        identity=_resource_identity,
        is_resource=True,
    ),
    Listing(
        name="workloadgroups",
        singular="workloadgroup",
        aliases=("wg",),
        headers=("NAMESPACE", "NAME", "SERVICE-ACCOUNT", *_RESOURCE_HEADERS),
        row=_workload_group_row,
        identity=_resource_identity,
        is_resource=True,
    ),
    Listing(
        name="services",
        singular="service",
        aliases=("svc",),
        headers=(
            *("NAMESPACE", "NAME", "HOST", "PORTS", "READY/TOTAL"),
            *("HELD", "STATE", "PROBLEMS", "SOURCE", "AGE"),
        ),
        row=_service_row,
        identity=lambda item: f"{item['namespace']}/{item['name']}",
        poll_seconds=2.0,
    ),
    Listing(
        name="conflicts",
        singular="conflict",
        aliases=(),
        headers=("NAMESPACE", "HOST", "FIELD", "WINS", "LOSES", "WHY"),
        row=_conflict_row,
        identity=lambda item: "/".join(
            str(item[key]) for key in ("namespace", "host", "field", "loser", "other")
        ),
        poll_seconds=2.0,
    ),
    Listing(
        name="sources",
        singular="source",
        aliases=(),
        headers=("NAME", "KIND", "STATE", "SERVICES", "INSTANCES", "HELD", "LAST-SUCCESS"),
        row=_source_row,
        identity=lambda item: str(item["name"]),
        volatile=frozenset({"lastSuccess", "asOf", "details"}),
        poll_seconds=2.0,
    ),
    Listing(
        name="instances",
        singular="instance",
        aliases=(),
        headers=(
            *("SOURCE", "SERVICE", "INSTANCE", "ADDRESS", "PORTS"),
            *("HEALTH", "WEIGHT", "VERSION", "LOCALITY"),
        ),
        row=_instance_row,
        identity=lambda item: f"{item['source']}/{item['service']}/{item['id']}",
        poll_seconds=2.0,
    ),
    Listing(
        name="held",
        singular="held",
        aliases=(),
        headers=("SOURCE", "SERVICE", "INSTANCE", "ADDRESS", "AGE", "WHY"),
        row=_held_row,
        identity=lambda item: f"{item['source']}/{item['service']}/{item['id']}",
        volatile=frozenset({"since", "until"}),
        poll_seconds=2.0,
    ),
    Listing(
        name="quarantine",
        singular="quarantined",
        aliases=(),
        headers=("NAMESPACE", "HOST", "ENDPOINT", "LAST-VALID-SERVED", "REASON"),
        row=_quarantine_row,
        identity=lambda item: f"{item['namespace']}/{item['host']}/{item['endpoint']}",
        poll_seconds=2.0,
    ),
    Listing(
        name="clients",
        singular="client",
        aliases=(),
        headers=("ID", "ADDRESS", "REVISION", "CONNECTED", "SYNCED", "NACKS", "LATENCY", "REFUSAL"),
        row=_client_row,
        identity=lambda item: f"{item['id']}/{item['address']}",
        poll_seconds=2.0,
    ),
    Listing(
        name="outputs",
        singular="output",
        aliases=(),
        headers=("NAME", "STATE", "SINCE", "LEADER", "WANTED", "OWNED", "PENDING", "TROUBLE"),
        row=_output_row,
        identity=lambda item: str(item["name"]),
        poll_seconds=2.0,
    ),
)
