"""Trees made of dumps and of a few lines of text."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.adapters.zookeeper.tree import BARE, Mirror

DUMPS = Path(__file__).parent / "golden" / "dumps"

Nodes = Mapping[str, bytes | str | dict[str, object] | Node]


def as_node(value: bytes | str | dict[str, object] | Node) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, dict):
        return Node(json.dumps(value).encode(), ephemeral=True)
    return Node(value if isinstance(value, bytes) else value.encode(), ephemeral=True)


def fill(layout: Layout, nodes: Mapping[str, Node]) -> Mirror:
    """Return what the watcher would hold: the covered nodes, and of those the layout needs what they are."""
    mirror = Mirror(layout.owner if layout.indexed else None)
    for path, node in sorted(nodes.items()):
        names = path.split("/")
        above = ["/".join(names[:count]) for count in range(len(names))]
        if all(map(layout.covers, [*above, path])):
            mirror.put(path, node if layout.needs(path) else BARE)
    return mirror


@pytest.fixture
def grow() -> Callable[[Layout, Nodes], Mirror]:
    """Make a tree of the nodes as a layout wants it; a mapping is an ephemeral node with JSON."""

    def grow(layout: Layout, nodes: Nodes) -> Mirror:
        return fill(layout, {"": Node(b"")} | {path: as_node(value) for path, value in nodes.items()})

    return grow


@pytest.fixture
def load() -> Callable[[str, RootSettings, Layout], Mirror]:
    """Make a tree of a dump as a layout wants it."""

    def load(name: str, root: RootSettings, layout: Layout) -> Mirror:
        dump = json.loads((DUMPS / f"{name}.json").read_text())
        base = root.base.rstrip("/")
        return fill(
            layout,
            {
                path[len(base) + 1 :]: Node(value["data"].encode(), value["ephemeral"])
                for path, value in dump.items()
                if path == base or path.startswith(base + "/")
            },
        )

    return load
