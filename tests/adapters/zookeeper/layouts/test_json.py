"""The layout for home-made trees."""

from collections.abc import Callable

import pytest

from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node, Tree, is_malformed
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.schemas.registry import Health

Grow = Callable[[Layout, dict[str, object]], Tree]

GOOD = {"address": "10.4.0.7", "port": 8080}


def make(**records: object) -> Layout:
    return RootSettings.model_validate(
        {"path": "/apps", "layout": "json", "json_records": records}
    ).make_layout()


def test_names_of_the_path_become_metadata(grow: Grow) -> None:
    layout = make(path="{env}/{service}/nodes/*/{id}")
    tree = grow(layout, {"prod/shop/nodes/x/1": GOOD, "prod/shop/other/x/1": GOOD, "prod/shop": Node(b"")})

    group = layout.group("zk", "shop", tree)

    assert layout.names(tree) == {"shop"}
    assert [dict(found.metadata) for found in group.instances] == [{"env": "prod", "id": "1"}]


@pytest.mark.parametrize(
    ("path", "covers", "owner"),
    [
        ("", True, ""),
        ("shop", True, ""),
        ("shop/n", False, ""),
        ("shop/nodes", True, ""),
        ("shop/nodes/1", True, "shop"),
        ("shop/nodes/1/deep", False, ""),
    ],
)
def test_only_paths_of_the_form_are_read(path: str, covers: bool, owner: str) -> None:
    layout = make(path="{service}/nodes/{id}")

    assert layout.covers(path) is covers
    assert layout.owner(path) == owner
    assert layout.needs(path) is (owner != "")


@pytest.mark.parametrize(
    ("status", "is_ephemeral", "health"),
    [
        ("UP", True, Health.READY),
        (True, True, Health.READY),
        (None, True, Health.READY),
        (None, False, Health.UNKNOWN),
        ("down", True, Health.UNREADY),
        ("draining", True, Health.DRAINING),
    ],
)
def test_the_status_is_the_health(status: object, is_ephemeral: bool, health: Health, grow: Grow) -> None:
    layout = make(status="/state")
    tree = grow(layout, {"shop/1": GOOD | {"state": status}})
    node = tree.node("shop/1")
    assert node is not None
    tree = grow(layout, {"shop/1": Node(node.data, is_ephemeral)})

    assert layout.group("zk", "shop", tree).instances[0].health is health


def test_pointers_lead_through_lists_and_escapes(grow: Grow) -> None:
    layout = make(address="/hosts/1/a~1b~0", port="/p", ports={"admin": "/hosts/7", "odd": "/hosts/x"})
    tree = grow(layout, {"shop/1": {"hosts": [0, {"a/b~": "10.4.0.7"}], "p": 1}})

    found = layout.group("zk", "shop", tree).instances[0]

    assert (found.address, [port.number for port in found.ports]) == ("10.4.0.7", [1])


def test_a_malformed_record_keeps_its_last_good_reading(grow: Grow) -> None:
    layout = make(version="/v")
    nodes: dict[str, object] = {"shop/1": GOOD, "shop/2": GOOD}
    before = layout.group("zk", "shop", grow(layout, nodes))

    for bad in ("{", {"address": "10.4.0.7"}, {"port": 1}, Node(b"", True, is_readable=False)):
        after = layout.group("zk", "shop", grow(layout, nodes | {"shop/2": bad}), before)
        assert after.instances == before.instances
        assert [note.record for note in after.notes if is_malformed(note)] == ["shop/2"]


def test_a_change_touches_its_service(grow: Grow) -> None:
    layout = make()
    tree = grow(layout, {})

    assert layout.services("shop/1", tree) == ("shop",)
    assert layout.services("shop", tree) == ()
