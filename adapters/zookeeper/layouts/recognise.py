"""Recognises how services are written below a root, from a sample of its nodes."""

from collections.abc import Iterator

import msgspec

from meshbridge.adapters.zookeeper.layouts import dubbo_app, fields
from meshbridge.adapters.zookeeper.layouts.curator import SPRING_CLASS
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import (
    SAMPLE_CHILDREN,
    SAMPLE_DEPTH,
    Node,
    Tree,
    join,
    leaf,
)
from meshbridge.adapters.zookeeper.layouts.nerve import is_encoded

_CATEGORIES = frozenset(("providers", "consumers", "configurators", "routers"))


class Recognised(msgspec.Struct, frozen=True, gc=False):
    """A layout, and what spoke for it."""

    layout: str
    reason: str


def recognise(tree: Tree) -> Recognised | None:
    """Return the layout of a root, None while nothing tells it.

    Args:
        tree: some children of each node, `SAMPLE_CHILDREN` of them, `SAMPLE_DEPTH` levels deep, with data.
    """
    for path, node in _walk(tree):
        found = _told_by(path, node, tree)
        if found:
            return found
    return None


def _walk(tree: Tree) -> Iterator[tuple[str, Node]]:
    """Yield the nodes level by level, in the order of their names."""
    level = [""]
    for _ in range(SAMPLE_DEPTH + 1):
        deeper: list[str] = []
        for path in level:
            node = tree.node(path)
            if node is not None:
                yield path, node
                deeper += [join(path, name) for name in sorted(tree.children(path))[:SAMPLE_CHILDREN]]
        level = deeper


def _told_by(path: str, node: Node, tree: Tree) -> Recognised | None:
    name = leaf(path)
    below = _CATEGORIES.intersection(tree.children(path))
    if below:
        return Recognised("dubbo", f"{path} has {min(below)}")
    if name.startswith("member_") and b"serviceEndpoint" in node.data:
        return Recognised("serversets", f"{path} has a serviceEndpoint")
    if is_encoded(name):
        return Recognised("nerve", f"{path[:80]} holds its record in its name")
    try:
        record = fields.decoded(node.data)
    except Refused:
        return None
    return _told_by_record(path, record)


def _told_by_record(path: str, record: dict[str, object]) -> Recognised | None:
    if dubbo_app.is_dubbo(record):
        return Recognised("curator", f"{path} is an instance of a Dubbo application")
    if fields.mapping(record.get("payload")).get("@class") == SPRING_CLASS:
        return Recognised("curator", f"{path} is an instance of Spring Cloud")
    if {"serviceType", "address"} <= record.keys() or {"payload", "address", "name"} <= record.keys():
        return Recognised("curator", f"{path} is an instance of Curator's service discovery")
    if {"host", "port", "name"} <= record.keys():
        return Recognised("nerve", f"{path} has host, port and name")
    return None
