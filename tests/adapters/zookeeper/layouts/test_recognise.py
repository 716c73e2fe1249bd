"""Which layout a root is written in."""

import json
from pathlib import Path

import pytest

from meshbridge.adapters.zookeeper.layouts.layout import Node
from meshbridge.adapters.zookeeper.layouts.recognise import recognise
from meshbridge.adapters.zookeeper.tree import Mirror

DUMPS = Path(__file__).parent / "golden" / "dumps"


def mirror(nodes: dict[str, bytes]) -> Mirror:
    found = Mirror()
    found.put("", Node(b""))
    for path, data in nodes.items():
        found.put(path, Node(data))
    return found


@pytest.mark.parametrize(
    ("dump", "root", "layout"),
    [
        ("dubbo-2.7-interface", "/dubbo27", "dubbo"),
        ("dubbo-3-mixed", "/dubbo", "dubbo"),
        ("dubbo-3-mixed", "/services", "curator"),
        ("curator-5.9", "/curator/services", "curator"),
        ("spring-cloud-zookeeper-4.3.0", "/services", "curator"),
        ("serversets", "/aurora", "serversets"),
        ("nerve", "/nerve/services", "nerve"),
        ("nerve", "/nerve/services/web", "nerve"),
    ],
)
def test_a_dump_is_recognised(dump: str, root: str, layout: str) -> None:
    nodes = json.loads((DUMPS / f"{dump}.json").read_text())
    inside = {path[len(root) + 1 :]: value["data"].encode() for path, value in nodes.items()}
    tree = mirror({path: data for path, data in inside.items() if path and f"{root}/{path}" in nodes})

    found = recognise(tree)

    assert found is not None
    assert found.layout == layout
    assert found.reason


@pytest.mark.parametrize(
    "nodes",
    [
        {},
        {"a": b""},
        {"a/b": b"\xff"},
        {"a/b": b"{}"},
        {"a/b": b'{"address": "10.4.0.7"}'},
        {"a/b/c/d/e/f": b'{"host": "h", "port": 1, "name": "n"}'},
    ],
)
def test_what_tells_nothing_is_not_guessed(nodes: dict[str, bytes]) -> None:
    assert recognise(mirror(nodes)) is None


def test_nothing_is_nothing() -> None:
    assert recognise(Mirror()) is None
