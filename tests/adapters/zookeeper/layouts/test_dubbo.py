"""Dubbo's interfaces: what is a provider, what becomes of it, and whom a change touches."""

import json
from collections.abc import Callable

import pytest

from meshbridge.adapters.zookeeper.layouts.dubbo_url import encode
from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node, Tree, is_malformed
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.schemas.registry import Health, Instance, InstanceGroup

Grow = Callable[[Layout, dict[str, object]], Tree]

X = "com.acme.X"
Y = "com.acme.Y"
RULE = "config/dubbo/com.acme.X::.configurators"


def dubbo(**options: object) -> Layout:
    return RootSettings.model_validate({"path": "/dubbo", "layout": "dubbo", "dubbo": options}).make_layout()


def both(**options: object) -> Layout:
    return RootSettings.model_validate(
        {"path": "/dubbo", "applications": "/services", "layout": "dubbo", "dubbo": options}
    ).make_layout()


def at(category: str, url: str, interface: str = X) -> str:
    return f"{interface}/{category}/{encode(url)}"


def provider(url: str, interface: str = X) -> str:
    return at("providers", url, interface)


def process(address: str, port: int = 20880, revision: str = "abcdef12", storage: str = "remote") -> object:
    endpoints = json.dumps([{"port": port, "protocol": "dubbo"}])
    return {
        "name": "orders",
        "address": address,
        "port": port,
        "payload": {
            "@class": "org.apache.dubbo.registry.zookeeper.ZookeeperInstance",
            "metadata": {
                "dubbo.endpoints": endpoints,
                "dubbo.metadata.revision": revision,
                "dubbo.metadata.storage-type": storage,
            },
        },
    }


def revision(interface: str = X, port: int = 20880, **own: str) -> object:
    item = {"name": interface, "protocol": "dubbo", "port": port, "params": {"weight": "7"}, **own}
    return {"app": "orders", "revision": "abcdef12", "services": {"a": item}}


def only(group: InstanceGroup) -> Instance:
    assert len(group.instances) == 1, group
    return group.instances[0]


def one(layout: Layout, tree: Tree, service: str = X) -> Instance:
    return only(layout.group("zk", service, tree))


def ids(group: InstanceGroup) -> list[str]:
    return [instance.id for instance in group.instances]


def test_the_tag_is_dubbo_tag(grow: Grow) -> None:
    layout = dubbo()
    tree = grow(layout, {provider("dubbo://10.4.0.7:20880/x?dubbo.tag=gray&tag=other"): ""})

    assert dict(one(layout, tree).labels) == {"tag": "gray"}


def test_a_simplified_provider_says_little_and_is_one(grow: Grow) -> None:
    layout = dubbo()
    tree = grow(layout, {provider("dubbo://10.4.0.7:20880/x?application=a"): ""})

    found = one(layout, tree)

    assert (found.health, found.weight, dict(found.metadata)["interface"]) == (Health.READY, 100, X)


@pytest.mark.parametrize(
    "url",
    [
        "dubbo://10.4.0.7:20880/x?side=consumer",
        "dubbo://10.4.0.7:20880/x?category=configurators",
        "consumer://10.4.0.7/x",
        "empty://10.4.0.7/x",
        "override://10.4.0.7:20880/x",
    ],
)
def test_what_is_no_provider_is_said_and_left_out(url: str, grow: Grow) -> None:
    layout = dubbo()
    group = layout.group("zk", X, grow(layout, {provider(url): ""}))

    assert not group.instances
    assert len(group.notes) == 1
    assert not is_malformed(group.notes[0])


def test_a_provider_that_registers_itself_anew_keeps_its_identity(grow: Grow) -> None:
    layout = dubbo()
    before = grow(layout, {provider("dubbo://10.4.0.7:20880/x?weight=100&pid=1&timestamp=1"): ""})
    after = grow(layout, {provider("dubbo://10.4.0.7:20880/x?weight=50&disabled=true&pid=2"): ""})

    assert one(layout, before).id == one(layout, after).id
    assert one(layout, after).health is Health.DRAINING


@pytest.mark.parametrize(
    ("parameters", "health"),
    [
        ("disabled=true", Health.DRAINING),
        ("enabled=false", Health.DRAINING),
        ("weight=0", Health.DRAINING),
        ("weight=many", Health.READY),
        ("deprecated=true", Health.READY),
    ],
)
def test_health_follows_the_parameters(parameters: str, health: Health, grow: Grow) -> None:
    layout = dubbo()
    tree = grow(layout, {provider(f"dubbo://10.4.0.7:20880/x?{parameters}"): ""})

    assert one(layout, tree).health is health


def test_a_persistent_provider_says_nothing_of_its_health(grow: Grow) -> None:
    layout = dubbo()
    tree = grow(layout, {provider("dubbo://10.4.0.7:20880/x?dynamic=false"): Node(b"")})

    assert one(layout, tree).health is Health.UNKNOWN


def test_secrets_stay_behind_and_a_warm_up_is_told_with_its_start(grow: Grow) -> None:
    layout = dubbo()
    url = "dubbo://10.4.0.7:20880/x?token=hush&a.password=hush&warmup=60000&timestamp=17"
    tree = grow(layout, {provider(url): ""})

    found = dict(one(layout, tree).metadata)

    assert found == {"interface": X, "warmup": "60000", "timestamp": "17"}


def test_a_malformed_provider_hides_no_neighbour_and_no_secret(grow: Grow) -> None:
    layout = dubbo()
    nodes = {
        provider("dubbo://10.4.0.7:20880/x"): "",
        provider("dubbo://not an address:1/x?token=hush"): "",
        provider("dubbo://10.4.0.8/x?token=hush"): "",
        provider("dubbo://10.4.0.9:a/x?token=hush"): "",
        f"{X}/providers/%ff%fe": "",
    }

    group = layout.group("zk", X, grow(layout, nodes))

    assert ids(group) == ["dubbo/10.4.0.7:20880"]
    assert len([note for note in group.notes if is_malformed(note)]) == 4
    assert "hush" not in str(group)


def test_ipv6_and_names_are_addresses(grow: Grow) -> None:
    layout = dubbo()
    nodes = {provider("tri://[fd00::7]:50051/x"): "", provider("tri://VM1.corp:50051/x?ssl-enabled=true"): ""}

    found = layout.group("zk", X, grow(layout, nodes)).instances

    assert [(item.address, item.ports[0].tls) for item in found] == [("fd00::7", False), ("vm1.corp", True)]


def test_two_processes_on_one_machine_are_two_instances_with_all_their_ports(grow: Grow) -> None:
    layout = dubbo()
    urls = ["dubbo://10.4.0.7:1/x", "dubbo://10.4.0.7:2/x", "tri://10.4.0.7:11/x", "tri://10.4.0.7:12/x"]
    group = layout.group("zk", X, grow(layout, {provider(url): "" for url in urls}))

    assert [[port.number for port in found.ports] for found in group.instances] == [[1, 11], [2, 12]]


def test_two_protocols_on_one_port_are_one_port(grow: Grow) -> None:
    layout = dubbo()
    nodes = {provider("tri://10.4.0.7:20880/x"): "", provider("dubbo://10.4.0.7:20880/x"): ""}

    assert [port.name for port in one(layout, grow(layout, nodes)).ports] == ["dubbo"]


def test_one_disabled_port_drains_the_process(grow: Grow) -> None:
    layout = dubbo()
    nodes = {provider("dubbo://10.4.0.7:1/x?disabled=true"): "", provider("tri://10.4.0.7:2/x"): ""}

    assert one(layout, grow(layout, nodes)).health is Health.DRAINING


def test_rules_apply_in_dubbos_order(grow: Grow) -> None:
    layout = dubbo()
    nodes: dict[str, object] = {
        provider("dubbo://10.4.0.7:20880/x?application=orders&a=0&b=0&c=0&d=0"): "",
        at("configurators", "override://10.4.0.7:20880/x?a=host&b=host"): "",
        at("configurators", "override://0.0.0.0/x?a=all&b=all&c=all&d=all&priority=9"): "",
        "config/dubbo/orders.configurators": "scope: application\nconfigs: [{parameters: {b: app, c: app}}]",
        RULE: "configs: [{parameters: {c: service}}]",
    }

    found = dict(one(layout, grow(layout, nodes)).metadata)

    assert [found[key] for key in "abcd"] == ["host", "app", "service", "all"]


def test_a_rule_that_turns_bad_keeps_its_last_good_reading_while_it_exists(grow: Grow) -> None:
    layout = dubbo()
    nodes: dict[str, object] = {provider("dubbo://10.4.0.7:20880/x"): ""}
    good = grow(layout, nodes | {RULE: "configs: [{parameters: {disabled: true}}]"})
    bad = grow(layout, nodes | {RULE: "configs: ["})
    unread = grow(layout, nodes | {RULE: Node(b"", is_readable=False)})

    assert one(layout, good).health is Health.DRAINING
    assert one(layout, bad).health is Health.DRAINING
    assert one(layout, unread).health is Health.DRAINING
    assert any(map(is_malformed, layout.group("zk", X, bad).notes))
    assert one(layout, grow(layout, nodes)).health is Health.READY
    assert one(layout, bad).health is Health.READY


def test_a_malformed_override_is_said(grow: Grow) -> None:
    layout = dubbo()
    nodes = {provider("dubbo://10.4.0.7:20880/x"): "", f"{X}/configurators/what": ""}

    group = layout.group("zk", X, grow(layout, nodes))

    assert only(group).health is Health.READY
    assert [note.record for note in group.notes] == ["configurators/what"]


def test_bystanders_are_counted(grow: Grow) -> None:
    layout = dubbo(consumers=True)
    nodes = {
        provider("dubbo://10.4.0.7:20880/x"): "",
        at("consumers", "consumer://10.4.0.9/x"): "",
        at("routers", "condition://0.0.0.0/x"): "",
        at("routers", "empty://0.0.0.0/x"): "",
    }

    group = layout.group("zk", X, grow(layout, nodes))

    assert [note.reason for note in group.notes] == [
        "consumers (1) are no providers",
        "routing rules of Dubbo (1) are left to its consumers",
    ]


def test_consumers_are_covered_only_on_demand() -> None:
    path = at("consumers", "consumer://10.4.0.9/x")

    assert not dubbo().covers(path)
    assert dubbo(consumers=True).covers(path)


@pytest.mark.parametrize(
    ("path", "covers", "needs"),
    [
        ("", True, False),
        (X, True, False),
        (f"{X}/providers", True, False),
        (f"{X}/locks", False, False),
        (f"{X}/providers/u", True, False),
        (f"{X}/providers/u/deep", False, False),
        ("config", True, False),
        ("config/other", False, False),
        ("config/dubbo", True, False),
        (RULE, True, True),
        ("config/dubbo/x.condition-router", False, False),
        ("config/dubbo/x.configurators/deep", False, False),
        ("mapping", False, False),
        ("metadata", False, False),
    ],
)
def test_only_what_matters_is_read(path: str, covers: bool, needs: bool) -> None:
    layout = dubbo()

    assert layout.covers(path) is covers
    assert layout.needs(path) is needs
    assert not (layout.leads(path) and needs)


@pytest.mark.parametrize(
    ("path", "covers", "needs"),
    [
        ("", True, False),
        ("dubbo", True, False),
        ("services", True, False),
        ("kafka", False, False),
        ("services/orders", True, False),
        ("services/orders/10.4.0.7:20880", True, True),
        ("services/orders/10.4.0.7:20880/deep", False, False),
        ("dubbo/mapping", True, False),
        (f"dubbo/mapping/{X}", True, True),
        (f"dubbo/mapping/{X}/deep", False, False),
        ("dubbo/metadata", True, False),
        ("dubbo/metadata/orders", True, False),
        ("dubbo/metadata/orders/abcdef12", True, True),
        (f"dubbo/metadata/{X}/provider", False, False),
        (f"dubbo/metadata/{X}/abcdef12/blue/provider", False, False),
    ],
)
def test_of_two_trees_only_what_matters_is_read(path: str, covers: bool, needs: bool) -> None:
    layout = both()

    assert layout.trees == ("dubbo", "services")
    assert layout.covers(path) is covers
    assert layout.needs(path) is needs


def test_a_process_that_registers_as_an_application_alone_is_found(grow: Grow) -> None:
    layout = both()
    nodes: dict[str, object] = {
        f"dubbo/mapping/{X}": "orders,gone",
        "dubbo/metadata/orders/abcdef12": revision(group="blue", version="1.0"),
        "services/orders/10.4.0.7:20880": process("10.4.0.7"),
    }
    tree = grow(layout, nodes)

    assert layout.names(tree) == {f"{X}.blue.1.0"}
    found = one(layout, tree, f"{X}.blue.1.0")
    assert (found.id, found.weight, found.health) == ("dubbo/10.4.0.7:20880", 7, Health.READY)


def test_what_is_registered_at_both_levels_is_one_instance(grow: Grow) -> None:
    layout = both()
    nodes: dict[str, object] = {
        "dubbo/" + provider("dubbo://10.4.0.7:20880/x?application=orders&weight=50"): "",
        f"dubbo/mapping/{X}": "orders",
        "dubbo/metadata/orders/abcdef12": revision(),
        "services/orders/10.4.0.7:20880": process("10.4.0.7"),
        "services/orders/10.4.0.8:20880": process("10.4.0.8"),
    }

    group = layout.group("zk", X, grow(layout, nodes))

    assert [(found.address, found.weight) for found in group.instances] == [("10.4.0.7", 50), ("10.4.0.8", 7)]


@pytest.mark.parametrize(
    "broken",
    [
        {"services/orders/10.4.0.7:20880": '{"name":'},
        {"services/orders/10.4.0.7:20880": Node(b"", ephemeral=True, is_readable=False)},
        {"services/orders/10.4.0.7:20880": process("", port=20880)},
        {"services/orders/10.4.0.7:20880": process("10.4.0.7", revision="123456")},
        {"dubbo/metadata/orders/abcdef12": "{"},
    ],
)
def test_a_process_that_turns_bad_keeps_its_last_good_reading(broken: dict[str, object], grow: Grow) -> None:
    layout = both()
    nodes: dict[str, object] = {
        f"dubbo/mapping/{X}": "orders",
        "dubbo/metadata/orders/abcdef12": revision(),
        "dubbo/metadata/orders/fedcba98": revision(port=20881),
        "services/orders/10.4.0.7:20880": process("10.4.0.7"),
        "services/orders/10.4.0.8:20881": process("10.4.0.8", 20881, "fedcba98"),
    }
    before = layout.group("zk", X, grow(layout, nodes))

    after = layout.group("zk", X, grow(layout, nodes | broken), before)

    assert after.instances == before.instances
    assert any(map(is_malformed, after.notes))
    gone = {path: node for path, node in (nodes | broken).items() if "10.4.0.7" not in path}
    assert "10.4.0.7" not in str(layout.group("zk", X, grow(layout, gone), after).instances)


def test_revision_0_exports_nothing(grow: Grow) -> None:
    layout = both()
    nodes: dict[str, object] = {
        f"dubbo/mapping/{X}": "orders",
        "services/orders/10.4.0.7:20880": process("10.4.0.7", revision="0"),
    }

    assert layout.group("zk", X, grow(layout, nodes)) == InstanceGroup(
        layout.group("zk", X, grow(layout, {})).key
    )


def test_a_process_that_tells_its_interfaces_only_when_asked_is_said(grow: Grow) -> None:
    layout = both()
    nodes: dict[str, object] = {
        f"dubbo/mapping/{X}": "orders",
        "services/orders/10.4.0.7:20880": process("10.4.0.7", storage="local"),
    }

    assert not layout.group("zk", X, grow(layout, nodes)).notes
    group = layout.group("zk", X, grow(layout, nodes | {"dubbo/" + provider("dubbo://10.4.0.8:1/x"): ""}))
    assert [note.record for note in group.notes] == ["orders/10.4.0.7:20880"]
    assert not is_malformed(group.notes[0])


def test_a_malformed_process_is_said_at_its_application(grow: Grow) -> None:
    layout = both()
    nodes = {"services/orders/10.4.0.7:20880": "{", "services/orders/10.4.0.8:20880": process("10.4.0.8")}
    tree = grow(layout, nodes)

    group = layout.group("zk", "orders", tree)

    assert layout.names(tree) == {"orders"}
    assert not group.instances
    assert [is_malformed(note) for note in group.notes] == [True]


def test_a_service_without_providers_is_gone_whoever_else_is_there(grow: Grow) -> None:
    layout = both(consumers=True)
    nodes: dict[str, object] = {
        f"dubbo/{X}/providers": Node(b""),
        "dubbo/" + at("consumers", "consumer://10.4.0.9/x"): "",
        "dubbo/" + at("routers", "condition://0.0.0.0/x"): "",
    }

    group = layout.group("zk", X, grow(layout, nodes))

    assert not group.instances
    assert not group.notes


def test_spring_services_beside_are_nobodys_applications(grow: Grow) -> None:
    layout = both(grouping="application")
    tree = grow(
        layout, {"services/catalog/1": {"address": "10.4.0.7", "port": 1}, "services/empty": Node(b"")}
    )

    assert layout.names(tree) == set()


def test_an_application_is_one_service_with_all_its_processes(grow: Grow) -> None:
    layout = both(grouping="application")
    nodes: dict[str, object] = {
        "dubbo/" + provider("dubbo://10.4.0.7:20880/x?application=orders&weight=50&group=blue"): "",
        "dubbo/" + provider("dubbo://10.4.0.7:20880/y?application=orders&disabled=true", Y): "",
        "dubbo/" + provider("dubbo://10.4.0.9:20880/y?application=orders", Y): "",
        "services/orders/10.4.0.7:20880": process("10.4.0.7"),
        "services/orders/10.4.0.8:20880": process("10.4.0.8", revision="0"),
        "services/orders/bad": "{",
    }
    tree = grow(layout, nodes)

    group = layout.group("zk", "orders", tree)

    assert layout.names(tree) == {"orders"}
    assert [(found.address, found.weight, found.health) for found in group.instances] == [
        ("10.4.0.7", 50, Health.READY),
        ("10.4.0.8", 100, Health.DRAINING),
        ("10.4.0.9", 100, Health.READY),
    ]
    assert "interface" not in dict(group.instances[0].metadata)
    assert [note.record for note in group.notes] == ["orders/bad"]


def test_a_provider_without_an_application_goes_by_its_interface(grow: Grow) -> None:
    layout = dubbo(grouping="application")
    nodes = {provider("dubbo://10.4.0.7:20880/x"): "", f"{Y}/providers/what": ""}
    tree = grow(layout, nodes)

    assert layout.names(tree) == {X, Y}
    assert ids(layout.group("zk", X, tree)) == ["dubbo/10.4.0.7:20880"]
    assert any(map(is_malformed, layout.group("zk", Y, tree).notes))


def test_protocols_that_are_not_wanted_are_left_out(grow: Grow) -> None:
    layout = both(protocols=["TRI"])
    nodes: dict[str, object] = {
        "dubbo/" + provider("dubbo://10.4.0.7:20880/x"): "",
        "dubbo/" + provider("tri://10.4.0.7:50051/x"): "",
    }

    group = layout.group("zk", X, grow(layout, nodes))

    assert ids(group) == ["tri/10.4.0.7:50051"]
    assert len(group.notes) == 1


def test_an_address_that_a_process_can_not_have_is_said(grow: Grow) -> None:
    layout = both()
    nodes: dict[str, object] = {
        f"dubbo/mapping/{X}": "orders",
        "dubbo/metadata/orders/abcdef12": {
            "services": {
                "a": {"name": X, "protocol": "dubbo", "port": 0},
                "b": {"name": X, "protocol": "", "port": 1},
                "c": 5,
            }
        },
        "services/orders/10.4.0.7:20880": process("10.4.0.7"),
    }

    assert not layout.group("zk", X, grow(layout, nodes)).instances


def test_interfaces_with_odd_names_are_found_plain_and_encoded(grow: Grow) -> None:
    layout = dubbo()
    odd = "com.acme.Outer$Inner"
    plain = grow(layout, {provider("dubbo://10.4.0.7:1/x", odd): ""})
    encoded = grow(layout, {provider("dubbo://10.4.0.7:1/x", encode(odd)): ""})

    assert layout.names(plain) == layout.names(encoded) == {odd}
    assert one(layout, plain, odd) == one(layout, encoded, odd)


def test_groups_and_versions_with_dots_are_told_apart(grow: Grow) -> None:
    layout = dubbo()
    nodes = {
        provider("dubbo://10.4.0.7:1/x?group=Y"): "",
        provider("dubbo://10.4.0.8:1/x", f"{X}.Y"): "",
        provider("dubbo://10.4.0.9:1/x?version=0.0.0"): "",
    }
    tree = grow(layout, nodes)

    assert layout.names(tree) == {X, f"{X}.Y"}
    # Two services of one name share a group: the name is all that the mesh sees.
    assert ids(layout.group("zk", f"{X}.Y", tree)) == ["dubbo/10.4.0.7:1", "dubbo/10.4.0.8:1"]
    assert ids(layout.group("zk", X, tree)) == ["dubbo/10.4.0.9:1"]


NODES: dict[str, object] = {
    "dubbo/" + provider("dubbo://10.4.0.7:20880/x?application=orders"): "",
    "dubbo/" + provider("dubbo://10.4.0.7:20880/x?application=orders&group=blue"): "",
    "dubbo/" + provider("dubbo://10.4.0.7:20880/y?application=orders", Y): "",
    f"dubbo/mapping/{X}": "orders",
    "dubbo/metadata/orders/abcdef12": revision(group="green"),
    "dubbo/metadata/orders/fedcba98": "{",
    "services/orders/10.4.0.7:20880": process("10.4.0.7"),
    "services/orders/10.4.0.8:20880": process("10.4.0.8", revision="fedcba98"),
    "services/orders/bad": "{",
}


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        ("dubbo/" + provider("dubbo://10.4.0.9:1/x?group=blue"), {f"{X}.blue"}),
        ("dubbo/" + at("configurators", "override://0.0.0.0/x"), {X, f"{X}.blue", f"{X}.green"}),
        (f"dubbo/mapping/{X}", {X, f"{X}.blue", f"{X}.green"}),
        (f"dubbo/{RULE}", {X, f"{X}.blue", f"{X}.green"}),
        ("dubbo/config/dubbo/orders.configurators", None),
        ("dubbo/metadata/orders/abcdef12", {f"{X}.green"}),
        ("dubbo/metadata/orders/fedcba98", set()),
        ("services/orders/10.4.0.7:20880", {f"{X}.green", "orders"}),
        ("services/orders/10.4.0.8:20880", {"orders"}),
        ("services/orders/10.4.0.9:20880", {"orders"}),
        (f"dubbo/{X}/providers", set()),
        ("dubbo", set()),
        ("elsewhere", set()),
    ],
)
def test_a_change_touches_what_depends_on_it(path: str, touched: set[str] | None, grow: Grow) -> None:
    layout = both()

    found = layout.services(path, grow(layout, NODES))

    assert (None if found is None else set(found)) == touched


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        ("dubbo/" + provider("dubbo://10.4.0.9:1/x?application=shop"), {"shop"}),
        ("dubbo/" + at("configurators", "override://0.0.0.0/x"), {"orders"}),
        ("dubbo/config/dubbo/shop.configurators", {"shop"}),
        ("services/orders/10.4.0.9:20880", {"orders"}),
    ],
)
def test_a_change_touches_applications(path: str, touched: set[str], grow: Grow) -> None:
    layout = both(grouping="application")

    assert set(layout.services(path, grow(layout, NODES)) or ()) == touched


def test_instances_that_differ_in_their_start_alone_share_what_they_say(grow: Grow) -> None:
    layout = dubbo()
    urls = [f"dubbo://10.4.0.{n}:20880/x?application=a&pid={n}&timestamp={n}&weight=7" for n in range(3)]
    group = layout.group("zk", X, grow(layout, {provider(url): "" for url in urls}))

    first, second, _ = group.instances
    assert first.metadata is second.metadata
    assert {"pid", "timestamp"}.isdisjoint(dict(first.metadata))


def test_a_ramp_is_each_instances_own(grow: Grow) -> None:
    layout = dubbo()
    urls = [f"dubbo://10.4.0.{n}:20880/x?pid={n}&timestamp={n}&warmup=600" for n in range(3)]
    group = layout.group("zk", X, grow(layout, {provider(url): "" for url in urls}))

    assert [dict(found.metadata)["timestamp"] for found in group.instances] == ["0", "1", "2"]


def test_a_rule_for_one_host_is_not_for_its_neighbours(grow: Grow) -> None:
    layout = dubbo()
    urls = [f"dubbo://10.4.0.{n}:20880/x?pid={n}&timestamp={n}" for n in range(3)]
    rule = at("configurators", "override://10.4.0.1:20880/x?weight=5")
    group = layout.group("zk", X, grow(layout, {provider(url): "" for url in urls} | {rule: ""}))

    assert [found.weight for found in group.instances] == [100, 5, 100]


@pytest.mark.parametrize("grouping", ["interface", "application"])
def test_that_there_are_consumers_is_noted_where_they_are_not_counted(grouping: str, grow: Grow) -> None:
    layout = dubbo(grouping=grouping)
    nodes = {provider("dubbo://10.4.0.7:20880/x?application=a"): "", f"{X}/consumers": ""}
    group = layout.group("zk", "a" if grouping == "application" else X, grow(layout, nodes))

    assert [note.record for note in group.notes] == ["consumers"]
    assert not layout.leads(f"{X}/consumers"), "their names need not be read"
    assert not layout.holds_names(f"{X}/consumers")
    assert layout.holds_names(f"{X}/providers")


def test_the_first_consumer_touches_its_interface(grow: Grow) -> None:
    layout = dubbo()
    tree = grow(layout, {provider("dubbo://10.4.0.7:20880/x"): "", f"{X}/consumers": ""})

    assert layout.services(f"{X}/consumers", tree) == {X}
    assert layout.services(f"{X}/providers", tree) == ()


def test_an_applications_routers_are_counted(grow: Grow) -> None:
    layout = dubbo(grouping="application")
    nodes = {
        provider("dubbo://10.4.0.7:20880/x?application=a"): "",
        at("routers", "condition://0.0.0.0/x?a=b"): "",
    }
    group = layout.group("zk", "a", grow(layout, nodes))

    assert [note.reason for note in group.notes] == ["routing rules of Dubbo (1) are left to its consumers"]
