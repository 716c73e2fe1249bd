"""Whatever is written into ZooKeeper: no layout raises, and good neighbours stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node
from meshbridge.adapters.zookeeper.layouts.recognise import recognise
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.adapters.zookeeper.tree import Mirror

LAYOUTS = {
    "curator": {"path": "/r", "layout": "curator"},
    "serversets": {"path": "/r", "layout": "serversets"},
    "nerve": {"path": "/r", "layout": "nerve"},
    "json": {"path": "/r", "layout": "json", "json_records": {"status": "/status", "metadata": "/payload"}},
    "dubbo": {"path": "/r", "layout": "dubbo"},
    "both": {"path": "/r", "layout": "dubbo", "applications": "/s"},
    "applications": {
        "path": "/r",
        "layout": "dubbo",
        "applications": "/s",
        "dubbo": {"grouping": "application"},
    },
}
WORDS = ["a", "providers", "configurators", "routers", "config", "dubbo", "a.configurators", "abcdef12", "s"]
WORDS += [
    "a::.configurators",
    "mapping",
    "metadata",
    "member_1",
    "vector_1",
    "base64_4_e30=_1",
    "base64_99_x",
]
NAMES = ["name", "address", "port", "sslPort", "payload", "uriSpec", "parts", "value", "variable", "enabled"]
NAMES += ["metadata", "@class", "host", "serviceEndpoint", "additionalEndpoints", "status", "shard", "vector"]
NAMES += [
    "select",
    "weight",
    "labels",
    "services",
    "params",
    "protocol",
    "configs",
    "parameters",
    "addresses",
]
NAMES += ["match", "dubbo.endpoints", "dubbo.metadata.revision"]

names = st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="/\x00"), min_size=1, max_size=20)
urls = st.builds(
    "{}%3A%2F%2F{}%3A{}%2Fa%3F{}".format,
    st.sampled_from(["dubbo", "override", "tri", "empty"]),
    st.sampled_from(["10.4.0.7", "0.0.0.0", "[::1]", "%40", "vm"]),
    st.integers(-1, 70_000),
    st.text(st.characters(exclude_characters="/\x00"), max_size=20),
)
paths = st.lists(names | urls, min_size=1, max_size=5).map("/".join)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
values = st.recursive(
    scalars
    | st.sampled_from(["org.apache.dubbo.registry.zookeeper.ZookeeperInstance", "10.4.0.7", "abcdef12"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
documents = values.map(lambda value: json.dumps(value).encode())
nodes = st.builds(Node, st.binary(max_size=30) | documents, st.booleans(), st.booleans())


def look_at_everything(layout: Layout, found: dict[str, Node]) -> None:
    mirror = Mirror(layout.owner if layout.indexed else None)
    mirror.put("", Node(b""))
    for path, node in found.items():
        layout.covers(path), layout.needs(path), layout.owner(path)
        mirror.put(path, node)
    services = layout.names(mirror)
    for path in found:
        services.update(layout.services(path, mirror) or ())
    for service in services:
        group = layout.group("zk", service, mirror)
        again = layout.group("zk", service, mirror, group)
        assert again.instances == group.instances
        assert len({instance.id for instance in group.instances}) == len(group.instances)


@pytest.mark.parametrize("name", LAYOUTS)
@given(found=st.dictionaries(paths, nodes, max_size=8))
def test_no_tree_makes_a_layout_raise(name: str, found: dict[str, Node]) -> None:
    look_at_everything(RootSettings.model_validate(LAYOUTS[name]).make_layout(), found)


@given(value=values)
def test_no_document_makes_a_layout_raise(value: object) -> None:
    data = Node(json.dumps(value).encode(), ephemeral=True)
    places = ("a/1", "a/member_1", "a/vector_1", "s/a/1", "r/config/dubbo/a.configurators")
    for root in LAYOUTS.values():
        layout = RootSettings.model_validate(root).make_layout()
        look_at_everything(layout, dict.fromkeys(places, data))


@given(found=st.dictionaries(paths, nodes, max_size=8))
def test_no_tree_makes_recognition_raise(found: dict[str, Node]) -> None:
    mirror = Mirror()
    mirror.put("", Node(b""))
    for path, node in found.items():
        mirror.put(path, node)

    recognise(mirror)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(path=st.lists(names | st.just("consumers"), max_size=4).map("/".join), name=names)
def test_of_a_directory_of_names_every_child_matters_by_its_name_alone(
    layout: str, path: str, name: str
) -> None:
    made = RootSettings.model_validate(LAYOUTS[layout]).make_layout()

    if made.holds_names(path):
        child = f"{path}/{name}"
        assert made.covers(child)
        assert not made.needs(child)
        assert not made.leads(child)
