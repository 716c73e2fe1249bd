"""Layouts in which a directory is a service: Curator, ServerSets, Nerve."""

import base64
import json
from collections.abc import Callable

import pytest

from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node, Tree, is_malformed
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.schemas.registry import Health, Instance, InstanceGroup

Grow = Callable[[Layout, dict[str, object]], Tree]

GOOD = {"name": "api", "address": "10.4.0.7", "port": 8080, "host": "10.4.0.7"}


def make(layout: str, path: str = "/services") -> Layout:
    return RootSettings.model_validate({"path": path, "layout": layout}).make_layout()


def spring(**metadata: object) -> dict[str, object]:
    kind = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance"
    return GOOD | {"payload": {"@class": kind, "id": "application", "metadata": metadata}}


def member(host: str = "10.4.0.7", **fields: object) -> dict[str, object]:
    return {"serviceEndpoint": {"host": host, "port": 31001}, "status": "ALIVE"} | fields


def only(group: InstanceGroup) -> Instance:
    assert len(group.instances) == 1, group
    return group.instances[0]


def read(grow: Grow, layout: str, node: object, name: str = "1") -> Instance:
    made = make(layout)
    return only(made.group("zk", "api", grow(made, {f"api/{name}": node})))


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("UP", Health.READY),
        ("up", Health.READY),
        (None, Health.READY),
        ("OUT_OF_SERVICE", Health.DRAINING),
        ("DOWN", Health.UNREADY),
        ("STARTING", Health.UNREADY),
    ],
)
def test_springs_status_is_the_health(status: object, health: Health, grow: Grow) -> None:
    found = read(grow, "curator", spring(instance_status=status, zone="b"))

    assert (found.health, found.locality, dict(found.metadata)) == (health, "/b", {"zone": "b"})


def test_many_instances_with_springs_one_payload_id_are_many(grow: Grow) -> None:
    layout = make("curator")
    tree = grow(layout, {"api/a": spring(), "api/b": spring()})

    assert [found.id for found in layout.group("zk", "api", tree).instances] == ["a", "b"]


def test_a_disabled_instance_of_curator_drains(grow: Grow) -> None:
    assert read(grow, "curator", GOOD | {"enabled": False}).health is Health.DRAINING


def test_a_persistent_instance_says_nothing_of_its_health(grow: Grow) -> None:
    assert read(grow, "curator", Node(json.dumps(GOOD).encode())).health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("spec", "protocol"),
    [
        (None, ""),
        ({"parts": []}, ""),
        ({"parts": [5]}, ""),
        ({"parts": [{"value": "scheme", "variable": True}]}, "http"),
        ({"parts": [{"value": "address", "variable": True}]}, ""),
        ({"parts": [{"value": "ftp://", "variable": False}]}, "ftp"),
        ({"parts": [{"value": "x", "variable": False}]}, ""),
    ],
)
def test_the_template_of_the_address_says_the_protocol(spec: object, protocol: str, grow: Grow) -> None:
    assert read(grow, "curator", GOOD | {"uriSpec": spec}).ports[0].protocol == protocol


def test_an_encrypted_port_on_the_same_number_is_the_one(grow: Grow) -> None:
    ports = read(grow, "curator", GOOD | {"sslPort": 8080}).ports

    assert [(port.number, port.tls) for port in ports] == [(8080, True)]


@pytest.mark.parametrize("name", ["curator", "nerve", "serversets"])
def test_a_malformed_record_keeps_its_last_good_reading_and_hides_no_neighbour(name: str, grow: Grow) -> None:
    layout = make(name)
    good = GOOD | member()
    nodes: dict[str, object] = {"api/member_1": good, "api/member_2": good}
    before = layout.group("zk", "api", grow(layout, nodes))

    for bad in ("", "{", "\x00", {"host": 5}, Node(b"{}", True), Node(b"", True, is_readable=False)):
        after = layout.group("zk", "api", grow(layout, nodes | {"api/member_2": bad}), before)
        assert after.instances == before.instances
        assert [note.record for note in after.notes if is_malformed(note)] == ["member_2"]

    gone = layout.group("zk", "api", grow(layout, {"api/member_1": good}), before)
    assert [found.id for found in gone.instances] == ["member_1"]


@pytest.mark.parametrize("port", [{}, {"port": None, "sslPort": None}, {"port": 0}, {"port": "http"}])
def test_an_instance_of_curator_without_a_port_is_refused(port: dict[str, object], grow: Grow) -> None:
    layout = make("curator")

    group = layout.group("zk", "api", grow(layout, {"api/1": {"address": "10.4.0.7", **port}}))

    assert [is_malformed(note) for note in group.notes] == [True]


@pytest.mark.parametrize("endpoints", ["{", "5", "[5]", '[{"port": 0}]', "[" * 5000])
def test_a_dubbo_instance_with_malformed_endpoints_is_refused(endpoints: str, grow: Grow) -> None:
    layout = make("curator")
    payload = {
        "@class": "org.apache.dubbo.registry.zookeeper.ZookeeperInstance",
        "metadata": {"dubbo.endpoints": endpoints},
    }

    group = layout.group("zk", "api", grow(layout, {"api/1": GOOD | {"payload": payload}}))

    assert [is_malformed(note) for note in group.notes] == [True]


@pytest.mark.parametrize("name", ["curator", "nerve", "serversets"])
def test_a_malformed_record_that_was_never_good_is_said(name: str, grow: Grow) -> None:
    layout = make(name)
    tree = grow(layout, {"api/member_1": "{"})

    group = layout.group("zk", "api", tree)

    assert layout.names(tree) == {"api"}
    assert not group.instances
    assert [is_malformed(note) for note in group.notes] == [True]


def test_directories_are_no_records(grow: Grow) -> None:
    layout = make("curator")
    nodes: dict[str, object] = {
        "empty": Node(b""),
        "made-by-dubbo": Node(b"127.0.0.1"),
        "odd": Node(b"{}"),
        "odd/1": GOOD,
        "a/b/1": GOOD,
    }
    tree = grow(layout, nodes)

    assert layout.names(tree) == {"odd", "a/b"}
    assert layout.owner("a/b/1") == ""
    assert layout.leads("a/b")
    assert not layout.covers("/".join("abcdefghij"))


def test_a_root_that_is_a_service_has_its_name(grow: Grow) -> None:
    layout = make("nerve", "/nerve/services/redis/services")
    tree = grow(layout, {"i_1": GOOD, "redis/i_2": GOOD})

    assert layout.names(tree) == {"redis"}
    assert [found.id for found in layout.group("zk", "redis", tree).instances] == ["i_1", "i_2"]
    assert set(layout.services("i_1", tree) or ()) == {"redis"}


@pytest.mark.parametrize(
    ("name", "path", "touched"),
    [
        ("curator", "", set()),
        ("curator", "api", {"services"}),
        ("curator", "api/1", {"api", "services"}),
        ("curator", "team/api/1", {"team/api", "team"}),
        ("nerve", "api/services/1", {"api"}),
    ],
)
def test_a_change_touches_its_directory(name: str, path: str, touched: set[str], grow: Grow) -> None:
    layout = make(name)

    assert set(layout.services(path, grow(layout, {})) or ()) == touched


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("ALIVE", Health.READY),
        ("STOPPING", Health.DRAINING),
        ("STOPPED", Health.DRAINING),
        ("STARTING", Health.UNREADY),
        ("DEAD", Health.UNREADY),
        (None, Health.UNREADY),
    ],
)
def test_only_members_that_are_alive_are_ready(status: object, health: Health, grow: Grow) -> None:
    assert read(grow, "serversets", member(status=status), "member_1").health is health


@pytest.mark.parametrize(
    ("vectors", "weight"),
    [
        ([], None),
        ([{"select": "shard=3", "weight": 0.5}], 50),
        ([{"select": "inet=10.4.0.7:31001", "weight": 2}, {"select": "member=member_1", "weight": 0.25}], 50),
        ([{"select": "shard=4", "weight": 0.5}], 100),
        ([{"select": "shard=3", "weight": -1}], 100),
        ([{"select": "shard=3", "weight": "x"}], 100),
        ([{"select": "shard=3", "weight": 1e6}, {"select": "shard=3", "weight": 1e6}], 100_000_000),
        ([5], 100),
    ],
)
def test_the_weight_is_the_product_of_what_matches(
    vectors: list[object], weight: int | None, grow: Grow
) -> None:
    layout = make("serversets")
    nodes: dict[str, object] = {"api/member_1": member(shard=3)}
    nodes |= {f"api/vector_{number}": {"vector": [entry]} for number, entry in enumerate(vectors)}

    assert only(layout.group("zk", "api", grow(layout, nodes))).weight == weight


@pytest.mark.parametrize("bad", ["{", {"vector": 5}])
def test_a_malformed_vector_weighs_nothing(bad: object, grow: Grow) -> None:
    layout = make("serversets")
    tree = grow(layout, {"api/member_1": member(), "api/vector_1": bad})

    assert only(layout.group("zk", "api", tree)).weight == 100


def test_additional_endpoints_are_named_ports_of_the_same_machine(grow: Grow) -> None:
    layout = make("serversets")
    more = {
        "admin": {"host": "10.4.0.7", "port": 31002},
        "far": {"host": "10.4.0.8", "port": 31003},
        "none": {"host": "10.4.0.7"},
        "same": {"host": "10.4.0.7", "port": 31001},
        "twice": {"host": "10.4.0.7", "port": 31001},
    }

    group = layout.group("zk", "api", grow(layout, {"api/member_1": member(additionalEndpoints=more)}))

    assert [(port.name, port.number) for port in only(group).ports] == [("admin", 31002), ("same", 31001)]
    assert len(group.notes) == 2
    assert not any(map(is_malformed, group.notes))


def encoded(record: object, length: int | None = None) -> str:
    text = base64.urlsafe_b64encode(json.dumps(record).encode()).decode()
    return f"base64_{len(text) if length is None else length}_{text}_0000000007"


def test_a_name_can_hold_the_record(grow: Grow) -> None:
    found = read(grow, "nerve", "", encoded(GOOD | {"labels": {"az": "???>>>"}}))

    assert (found.id, found.address, found.ports[0].number) == ("base64_0000000007", "10.4.0.7", 8080)


@pytest.mark.parametrize(
    "name", [encoded(GOOD, 5), encoded(5), "base64_9_!!!!!!!!!_0000000007", "base64_0__1"]
)
def test_a_name_that_holds_no_record_is_said(name: str, grow: Grow) -> None:
    layout = make("nerve")

    group = layout.group("zk", "api", grow(layout, {f"api/{name}": ""}))

    assert [is_malformed(note) for note in group.notes] == [True]


@pytest.mark.parametrize("missing", ["host", "port", "name"])
def test_nerve_needs_host_port_and_name(missing: str, grow: Grow) -> None:
    layout = make("nerve")
    record = {key: value for key, value in GOOD.items() if key != missing}

    assert not layout.group("zk", "api", grow(layout, {"api/i_1": record})).instances


def test_nerves_weight_is_a_whole_number(grow: Grow) -> None:
    layout = make("nerve")
    tree = grow(layout, {"api/i_1": GOOD | {"weight": 3}, "api/i_2": GOOD | {"weight": -1}})

    assert only(layout.group("zk", "api", tree)).weight == 3
