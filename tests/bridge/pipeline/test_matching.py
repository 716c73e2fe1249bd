from typing import Any

import pytest

from meshbridge.bridge.config.rules import Match
from meshbridge.bridge.pipeline.matching import group_tests, instance_tests
from meshbridge.schemas.registry import Instance, Port, ServiceKey, group, labels

INSTANCE = Instance(
    id="shop/10.1.2.3/8080",
    address="10.1.2.3",
    ports=(Port("http", 8080, "http"), Port("admin", 9090, "grpc")),
    labels=labels({"version": "v2"}),
    metadata=labels({"rack": "r7", "document": "vms.yaml"}),
    tags=("canary", "eu"),
)
GROUP = group(ServiceKey("vms", "shop"), [INSTANCE], {"namespace": "legacy", "tier": "two\nlines"})


def matches(**conditions: Any) -> bool:
    match = Match.model_validate(conditions)
    of_group = all(test(GROUP) for test in group_tests(match))
    return of_group and all(test(INSTANCE) for test in instance_tests(match))


def test_no_condition_matches_everything() -> None:
    assert matches()


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        ("source", "vms", "vm"),
        ("source", ["eureka", "vm*"], ["eureka", "dc?"]),
        ("service", "sh?p", "sh?"),
        ("service", "/sh.p/", "/sh/"),
        ("namespace", "legacy", "default"),
        ("namespace", "leg*", ""),
        ("id", "shop/*", "pay/*"),
        ("address", "10.1.2.3", "10.1.2.4"),
        ("address", ["192.0.2.0/24", "10.1.0.0/16"], ["192.0.2.0/24", "fd00::/8"]),
        ("port", 8080, 80),
        ("port", 9090, 909),
        ("port", "admin", "metrics"),
        ("port", "90*", "91*"),
        ("protocol", "grpc", "tcp"),
        ("protocol", ["tcp", "http"], ["tcp", "HTTP"]),
        ("tag", "canary", "can"),
        ("tag", ["us", "eu"], ["us", "asia"]),
        ("labels", {"version": "v2", "other": "*"}, {"version": "v2", "other": "?*"}),
        ("labels", {"version": "v?"}, {"version": "v[2]"}),
        ("labels", {"version": ["v1", "v2"]}, {"version": "v1"}),
        ("labels", {"absent": ""}, {"absent": "?*"}),
        ("metadata", {"rack": "r*"}, {"rack": "r"}),
        ("metadata", {"rack": "r7", "document": "*.yaml"}, {"rack": "r7", "document": "*.csv"}),
        ("attributes", {"tier": "two*"}, {"tier": "two"}),
        ("attributes", {"namespace": "legacy"}, {"absent": "?*"}),
    ],
)
def test_condition_decides(condition: str, good: Any, bad: Any) -> None:
    assert matches(**{condition: good})
    assert not matches(**{condition: bad})


def test_all_conditions_must_hold() -> None:
    assert matches(source="vms", tag="canary", port="http")
    assert not matches(source="vms", tag="canary", port="https")
    assert not matches(source="zk", tag="canary", port="http")


@pytest.mark.parametrize("address", ["db.example.com", "unix:///run/shop.sock", ""])
def test_what_is_no_ip_address_is_in_no_network(address: str) -> None:
    [test] = instance_tests(Match.model_validate({"address": ["0.0.0.0/0", "::/0"]}))

    assert not test(Instance("a", address))


def test_instance_without_ports_or_tags_matches_no_condition_on_them() -> None:
    for condition in ({"port": "*"}, {"protocol": "*"}, {"tag": "*"}):
        [test] = instance_tests(Match.model_validate(condition))
        assert not test(Instance("a", "10.0.0.1"))


def test_a_part_of_a_source_matches_by_its_own_name_and_by_that_of_the_whole() -> None:
    part = group(ServiceKey("consul/dc1", "shop"), [INSTANCE])

    found = {
        name: all(test(part) for test in group_tests(Match.model_validate({"source": name})))
        for name in ("consul", "consul/dc1", "consul/dc2", "dc1")
    }

    assert found == {"consul": True, "consul/dc1": True, "consul/dc2": False, "dc1": False}
