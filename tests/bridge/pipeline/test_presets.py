"""Names as the other programs make them; where theirs is no name to Istio, as near as can be."""

import pytest

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.presets import PRESETS
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.values import Dropped, Member
from meshbridge.schemas.registry import Instance, Port, ServiceKey, group, labels

DUBBO = {"interface": "com.acme.OrderService", "group": "Blue", "version": "1.2.0"}
BARE = {"interface": "com.acme.OrderService"}
DC = {"consul-datacenter": "dc_1"}


def verdict(preset: str, service: str, attributes: dict[str, str], metadata: dict[str, str]) -> str:
    found = {}
    for rules, defaults in (([], {"preset": preset}), ([{"set": {"preset": preset}}], {})):
        made = Rules([Rule.model_validate(rule) for rule in rules], Defaults.model_validate(defaults))
        instance = Instance("a", "10.0.0.1", (Port("", 80),), metadata=labels(metadata))
        of_group = group(ServiceKey("src", service), [instance], attributes)
        answer = made.for_group(of_group).apply(instance)
        found[answer.mesh.host if isinstance(answer, Member) else answer.reason] = True
    [only] = found
    return only


@pytest.mark.parametrize(
    ("preset", "service", "attributes", "metadata", "host"),
    [
        ("consul2istio", "orders", {}, {}, "orders"),
        ("dubbo2istio", "x", DUBBO, {}, "com.acme.orderservice-blue-1-2-0"),
        ("dubbo2istio", "x", BARE, {}, "com.acme.orderservice"),
        ("higress-consul", "order_api", {}, DC, "order-api.dc-1.consul"),
        ("higress-eureka", "ORDERS", {}, {}, "orders.eureka"),
        ("higress-spring-zookeeper", "orders", {}, {}, "orders.services.zookeeper"),
        ("higress-dubbo", "x", DUBBO, {}, "providers-com.acme.orderservice-1.2.0-blue.zookeeper"),
        ("higress-dubbo", "x", BARE, {}, "providers-com.acme.orderservice-0.0.0.zookeeper"),
        ("meshregistry-dubbo", "x", DUBBO, {}, "com.acme.orderservice-blue-1.2.0.dubbo"),
        ("meshregistry-dubbo", "x", BARE, {}, "com.acme.orderservice.dubbo"),
        ("meshregistry-eureka", "ORDER_API", {}, {}, "order-api.eureka"),
        ("meshregistry-eureka", "ORDER_API", {}, {"k8sNs": "shop"}, "order-api.shop"),
    ],
)
def test_preset_gives_the_host_of_the_other_program(
    preset: str, service: str, attributes: dict[str, str], metadata: dict[str, str], host: str
) -> None:
    assert verdict(preset, service, attributes, metadata) == host


@pytest.mark.parametrize("preset", [name for name, known in PRESETS.items() if known.needs])
def test_instance_that_lacks_what_a_preset_needs_stays_out(preset: str) -> None:
    assert verdict(preset, "orders", {}, {}) == "its host is empty"


def test_host_of_an_earlier_rule_wins_over_a_preset_and_the_other_way_round() -> None:
    rules = [{"match": {"tag": "own"}, "set": {"host": "own.mesh"}}, {"set": {"preset": "higress-eureka"}}]
    rules.append({"set": {"host": "never.mesh"}})
    made = Rules([Rule.model_validate(rule) for rule in rules], Defaults())
    instances = [Instance(name, "10.0.0.1", (Port("", 80),), tags=(name,)) for name in ("own", "x")]
    of_group = made.for_group(group(ServiceKey("src", "A"), instances))

    answers = [of_group.apply(instance) for instance in instances]

    assert not any(isinstance(answer, Dropped) for answer in answers)
    assert [answer.mesh.host for answer in answers if isinstance(answer, Member)] == ["own.mesh", "a.eureka"]
