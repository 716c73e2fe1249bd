"""Finagle's ServerSets: a directory of `member_0000000012` nodes, and `vector_...` nodes with weights.

The format is the one of com.twitter.serverset, as Finagle's ZooKeeper resolver reads it.
"""

from collections.abc import Iterable, Mapping

from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts import fields
from meshbridge.adapters.zookeeper.layouts.directory import DirectoryLayout
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Node, Tree, join, leaf, parent
from meshbridge.schemas.registry import Health, Instance, Note, Port, labels

_MEMBER = "member_"
_VECTOR = "vector_"
_FULL_WEIGHT = 100
_HEALTH = {
    "ALIVE": Health.READY,
    "STOPPING": Health.DRAINING,
    "STOPPED": Health.DRAINING,
}


class ServerSets(DirectoryLayout):
    """One serverset is one service."""

    name = "serversets"

    @override
    def needs(self, path: str) -> bool:
        return leaf(path).startswith((_MEMBER, _VECTOR))

    @override
    def is_record(self, path: str, node: Node, tree: Tree) -> bool:
        return leaf(path).startswith(_MEMBER)

    @override
    def read(self, path: str, node: Node, tree: Tree) -> tuple[Instance, Iterable[Note]]:
        record = fields.decoded(node.data)
        main = fields.mapping(record.get("serviceEndpoint"))
        address, number = fields.address(main.get("host")), fields.port(main.get("port"))
        known = fields.metadata(fields.mapping(record.get("metadata")))
        shard = fields.scalar(record.get("shard"))
        ports, notes = _ports(leaf(path), address, number, fields.mapping(record.get("additionalEndpoints")))
        instance = Instance(
            id=leaf(path),
            address=address,
            ports=ports,
            labels=fields.mesh_labels({"version": known.get("version", "")}),
            metadata=labels({**known, "shard": shard} if shard else known),
            locality=fields.locality(known),
            weight=_weight(f"{address}:{number}", leaf(path), shard, parent(path), tree),
            health=_HEALTH.get(fields.scalar(record.get("status")).upper(), Health.UNREADY),
        )
        return instance, notes


def _ports(
    record: str, address: str, number: int, more: Mapping[str, object]
) -> tuple[tuple[Port, ...], list[Note]]:
    """Return the main port, and those additional ones that are on the same machine and have a number."""
    ports = {number: Port("", number)}
    notes = []
    for name, endpoint in sorted(more.items()):
        try:
            other = _port_on(address, fields.mapping(endpoint))
        except Refused as error:
            notes.append(Note(record, f"endpoint {fields.shown(name)} is left out: {error}"))
            continue
        # An endpoint on the main port only gives that port its name.
        if other not in ports or not ports[other].name:
            ports[other] = Port(fields.word(name), other)
    return tuple(sorted(ports.values())), notes


def _port_on(address: str, endpoint: Mapping[str, object]) -> int:
    if fields.address(endpoint.get("host")) != address:
        raise Refused("it is on another machine")
    return fields.port(endpoint.get("port"))


def _weight(place: str, member: str, shard: str, directory: str, tree: Tree) -> int | None:
    """Return the product of the matching vectors' weights, in hundredths; None without vectors."""
    vectors = [name for name in tree.children(directory) if name.startswith(_VECTOR)]
    selectors = {f"inet={place}", f"member={member}", f"shard={shard}"}
    product = 1.0
    for vector in vectors:
        node = tree.node(join(directory, vector))
        for entry in _entries(node.data if node else b""):
            factor = entry.get("weight")
            if entry.get("select") in selectors and isinstance(factor, int | float) and 0 <= factor <= 1e6:
                product *= factor
    return round(min(product, 1e6) * _FULL_WEIGHT) if vectors else None


def _entries(data: bytes) -> list[Mapping[str, object]]:
    try:
        vector = fields.decoded(data).get("vector")
    except Refused:
        return []
    return [fields.mapping(entry) for entry in vector] if isinstance(vector, list) else []
