from collections.abc import Mapping
from typing import Any

import pytest

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.explain import MAX_EXPLANATIONS, Explanation, explain
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Note, Port, ServiceKey, group

SHOP = ServiceKey("vms", "shop")
HOST = "shop.vms.mesh"


def vm(name: str, address: str = "10.0.0.1", **fields: Any) -> Instance:
    return Instance(name, address, **{"ports": (Port("http", 80, "http"),), **fields})


def mesh(*groups: InstanceGroup, rules: list[Mapping[str, Any]] | None = None) -> Mesh:
    made = Mesh(
        Rules([Rule.model_validate(rule) for rule in rules or []], Defaults()), ["vms", "zk"], GuardSettings()
    )
    says(made, *groups)
    return made


def says(made: Mesh, *groups: InstanceGroup) -> None:
    for found in groups:
        made.apply(found.key.source, made.catalog.compare([found]), 0.0)
    for _ in made.settle():
        pass


def only(made: Mesh, query: str) -> Explanation:
    [found] = explain(made, query)
    return found


def verdicts(found: Explanation) -> list[tuple[str, str]]:
    return [(step.stage, step.verdict) for step in found.steps]


def text(found: Explanation, stage: str, verdict: str) -> str:
    return next(step.text for step in found.steps if (step.stage, step.verdict) == (stage, verdict))


def test_served_instance_is_followed_to_its_endpoint() -> None:
    instance = vm(
        "a",
        labels=(("version", "v1"),),
        locality="eu/1",
        weight=3,
        service_account="shop",
        health=Health.READY,
    )
    found = only(mesh(group(SHOP, [instance])), "a")

    assert found.subject == "vms/shop a"
    assert found.served
    assert verdicts(found) == [("source", "ok"), ("rules", "ok"), ("rules", "ok"), ("publish", "ok")]
    assert [step.text for step in found.steps] == [
        "10.0.0.1, ports 80/http, ready",
        f"no rule matched: meshbridge/{HOST}, version=v1, locality eu/1, weight 3, service account shop",
        "mutual TLS as spiffe://cluster.local/ns/meshbridge/sa/shop",
        f"an endpoint of meshbridge/{HOST}",
    ]


@pytest.mark.parametrize("query", ["shop", "vms/shop", HOST, f"meshbridge/{HOST}"])
def test_service_is_found_by_name_and_host_with_all_its_instances(query: str) -> None:
    made = mesh(group(SHOP, [vm("a"), vm("b", "10.0.0.2")]), group(ServiceKey("vms", "pay"), [vm("c")]))

    found = explain(made, query)

    assert [one.subject for one in found] == ["vms/shop", "vms/shop a", "vms/shop b"]
    assert found[0].served
    assert verdicts(found[0]) == [("source", "ok"), ("merge", "ok"), ("publish", "ok"), ("publish", "ok")]
    assert text(found[0], "merge", "ok") == f"meshbridge/{HOST}, ports 80/HTTP, made of vms/shop"
    assert found[0].steps[-1].text == "2 of 2 endpoints"


def test_instance_is_found_by_its_address() -> None:
    made = mesh(group(SHOP, [vm("a"), vm("b", "10.0.0.2")]))

    assert only(made, "10.0.0.2").subject == "vms/shop b"


@pytest.mark.parametrize("query", ["unknown.mesh", "sho", "10.0.0", "zk/shop"])
def test_unknown_query_gives_nothing(query: str) -> None:
    assert explain(mesh(group(SHOP, [vm("a")])), query) == []


@pytest.mark.parametrize(
    ("health", "words"), [(Health.UNREADY, "it is not ready"), (Health.DRAINING, "it is draining")]
)
def test_unserved_instance_says_why(health: Health, words: str) -> None:
    found = only(mesh(group(SHOP, [vm("a", health=health)])), "a")

    assert not found.served
    assert text(found, "convert", health.value) == words


def test_service_without_endpoints_is_not_served() -> None:
    found = explain(mesh(group(SHOP, [vm("a", health=Health.UNREADY)])), "shop")[0]

    assert not found.served
    assert found.steps[-1].text == "0 of 1 endpoints"


def test_dropped_instance_names_the_rule() -> None:
    made = mesh(group(SHOP, [vm("a", tags=("old",))]), rules=[{"match": {"tag": "old"}, "drop": True}])

    found = only(made, "a")

    assert not found.served
    assert text(found, "rules", "dropped") == "dropped by rules[0] (rules[0] matched)"
    assert [one.subject for one in explain(made, "shop")] == ["vms/shop", "vms/shop a"]


def test_held_instance_is_served_and_says_that_the_registry_lost_it() -> None:
    made = mesh(group(SHOP, [vm(f"vm-{n:02}", f"10.0.0.{n}") for n in range(20)]))
    says(made, group(SHOP, [vm("vm-00", "10.0.0.0")]))

    found = only(made, "vm-07")

    assert found.served
    assert "the registry lost it" in text(found, "guard", "held")
    assert text(explain(made, "shop")[0], "guard", "held").startswith("19 instances are kept")


def test_twin_names_the_instance_that_stands_for_both() -> None:
    odd = vm("b", ports=(Port("other", 80, "tcp"),))
    made = mesh(group(SHOP, [vm("a"), vm("b")]), group(ServiceKey("vms", "pay"), [vm("a"), odd]))

    for found in explain(made, "b"):
        assert not found.served
        assert text(found, "merge", "dropped") == "a has the same address and ports"


def test_twin_of_another_source_may_have_the_same_id() -> None:
    rules = [{"set": {"host": "one.mesh"}}, {"match": {"source": "zk"}, "set": {"weight": 5}}]
    made = mesh(group(SHOP, [vm("a")]), group(ServiceKey("zk", "shop"), [vm("a")]), rules=rules)

    first, second = explain(made, "a")

    assert (first.subject, first.served) == ("vms/shop a", True)
    assert (second.subject, second.served) == ("zk/shop a", False)


def test_quarantined_service_says_why_and_what_is_served_instead() -> None:
    made = mesh(group(SHOP, [vm("a")]), group(ServiceKey("vms", "pay"), [vm("p")], {"export_to": ".,*"}))
    says(made, group(SHOP, [vm("a"), vm("b", "10.0.0.2")], {"export_to": ".,*"}))

    service, known, new = explain(made, "shop")
    assert service.served
    assert text(service, "validate", "quarantined").endswith("; its last valid form is served")
    assert not new.served
    assert "exportTo" in text(new, "validate", "quarantined")
    assert known.served
    assert ("validate", "quarantined") in verdicts(known)
    assert text(explain(made, "pay")[0], "validate", "quarantined").endswith("; nothing is served")


def test_instance_whose_endpoint_is_refused_says_why() -> None:
    found = only(mesh(group(SHOP, [vm("a"), vm("bad", "10.0.0.2", network="\n")])), "bad")

    assert not found.served
    assert text(found, "convert", "warning").startswith("left out: network")


def test_remarks_of_a_served_instance_are_shown() -> None:
    both = (Port("admin", 90, ""), Port("http", 80, "http"))
    made = mesh(group(SHOP, [vm("a", ports=both), vm("b", "10.0.0.2")]))

    found = only(made, "b")

    assert found.served
    assert text(found, "convert", "warning").startswith("it lacks the port admin")
    assert text(explain(made, "shop")[0], "convert", "warning").startswith("b: it lacks the port admin")


def test_conflicts_of_a_merge_are_shown_with_the_service() -> None:
    made = mesh(
        group(SHOP, [vm("a")]),
        group(ServiceKey("vms", "shop2"), [vm("b", "10.0.0.2")]),
        rules=[{"set": {"host": "one.mesh"}}],
    )

    assert "map to this one host" in text(explain(made, "shop")[0], "merge", "warning")


def test_record_that_never_became_an_instance_is_found_in_the_notes() -> None:
    made = mesh(
        group(SHOP, [vm("a")], notes=[Note("vms.yaml:7", "port 0 is none"), Note("a", "one label left out")])
    )

    found = only(made, "vms.yaml:7")
    assert (found.subject, found.served) == ("vms/shop vms.yaml:7", False)
    assert text(found, "source", "dropped") == "port 0 is none"
    assert text(explain(made, "shop")[0], "source", "warning") == "a: one label left out"
    assert text(explain(made, "a")[0], "source", "warning") == "one label left out"


def test_instance_without_ports_is_shown_as_such() -> None:
    found = only(mesh(group(SHOP, [vm("a", ports=())])), "a")

    assert found.steps[0].text == "10.0.0.1, ports none, unknown"
    assert text(found, "rules", "dropped") == "it has no port (no rule matched)"


def test_port_without_protocol_is_shown_as_such() -> None:
    made = mesh(group(SHOP, [vm("a", ports=(Port("x", 80, "auto"), Port("y", 81)))]))

    service, instance = explain(made, "shop")
    assert "ports 80/auto, 81/TCP" in text(service, "merge", "ok")
    assert "ports 80/auto, 81/?" in instance.steps[0].text


def test_group_that_is_not_worked_off_yet_is_explained_as_far_as_it_is_known() -> None:
    made = mesh(group(SHOP, [vm("a")]))

    made.configure(Rules([], Defaults(host="new.mesh")), ["vms"], GuardSettings())
    _, instance = explain(made, "shop")
    assert instance.served

    next(made.settle())  # The rules have been applied, the new host is not built.
    service, instance = explain(made, "shop")
    assert not service.served
    assert text(instance, "publish", "waiting") == "not worked off yet"


def test_wide_query_is_cut() -> None:
    large = group(SHOP, [vm(f"{n:05}", f"10.{n // 250}.0.{n % 250}") for n in range(3000)])
    other = group(ServiceKey("zk", "shop"), [vm("z", "10.99.0.1")])

    assert len(explain(mesh(large, other), "shop")) == MAX_EXPLANATIONS
