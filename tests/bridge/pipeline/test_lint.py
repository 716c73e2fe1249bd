from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.config.rules import Defaults, Match, Rule
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.lint import covers, lint, lint_met
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.schemas.registry import Instance, InstanceGroup, Port, ServiceKey, group, labels

SET = {"set": {"weight": 1}}


def rules(*written: Mapping[str, Any]) -> list[Rule]:
    return [Rule.model_validate(rule) for rule in written]


def linted(*written: Mapping[str, Any]) -> list[str]:
    return list(lint(rules(*written), ["vms", "dubbo-prod"]))


@pytest.mark.parametrize("source", ["vms", "vms/a", "dubbo-*", "*", "/vms|x/", "/vms/a/"])
def test_rule_of_a_source_that_there_is_is_fine(source: str) -> None:
    assert linted({"match": {"source": source}, **SET}) == []


@pytest.mark.parametrize("source", ["vmss", "vms*x", "/vm/", "dubbo-prd/a"])
def test_rule_that_names_no_source_is_told(source: str) -> None:
    [warning] = linted({"name": "canary", "match": {"source": ["vms", source]}, **SET})

    assert warning.startswith(
        f'rules[0] (canary): match.source "{source}" is no source, there are dubbo-prod, vms'
    )


def test_rule_that_names_no_source_is_told_what_may_have_been_meant() -> None:
    assert linted({"match": {"source": "dubbo-prd"}, **SET})[0].endswith('did you mean "dubbo-prod"?')


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({}, {}),
        ({}, {"service": "a"}),
        ({"service": "a*"}, {"service": "ab"}),
        ({"service": "a*"}, {"service": ["ab", "ac*", "a*"]}),
        ({"service": "/a.*/"}, {"service": "ab"}),
        ({"address": "10.0.0.0/8"}, {"address": ["10.1.0.0/16", "10.2.3.4"]}),
        ({"address": "fd00::/8"}, {"address": "fd00::1"}),
        ({"metadata": {"zone": "*"}}, {}),
        ({"labels": {"a": "x"}}, {"labels": {"a": "x", "b": "y"}}),
        ({"tag": "x"}, {"tag": "x", "service": "a"}),
    ],
)
def test_rule_that_an_earlier_one_leaves_nothing_is_told(
    earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    found = linted({"match": earlier, **SET}, {"match": later, **SET})

    assert found == ["rules[1]: never decides anything, rules[0] decide it before"]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"service": "a"}, {}),
        ({"service": "a"}, {"service": ["a", "b"]}),
        ({"service": "ab*"}, {"service": "a*"}),
        ({"service": "a?"}, {"service": "a*"}),
        ({"service": "/a.*/"}, {"service": "a*"}),
        ({"tag": "*"}, {}),
        ({"port": "*"}, {"service": "a"}),
        ({"address": "10.0.0.0/8"}, {"address": "0.0.0.0/0"}),
        ({"address": "10.0.0.0/8"}, {"address": "fd00::1"}),
        ({"address": "10.0.0.0/8"}, {}),
        ({"labels": {"a": "x"}}, {"labels": {"b": "x"}}),
        ({"metadata": {"a": "x"}}, {"labels": {"a": "x"}}),
    ],
)
def test_rule_that_may_decide_something_is_fine(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    assert linted({"match": earlier, **SET}, {"match": later, **SET}) == []


@pytest.mark.parametrize(
    ("written", "by"),
    [
        ([{"drop": True}, {"match": {"service": "a"}, **SET}], "rules[0]"),
        (
            [{"set": {"weight": 1}}, {"set": {"network": "x"}}, {"set": {"weight": 2, "network": "y"}}],
            "rules[0], rules[1]",
        ),
        ([{"set": {"labels": {"a": "1"}}}, {"set": {"labels": {"a": "2"}}}], "rules[0]"),
        ([{"set": {"host": "a"}}, {"set": {"preset": "dubbo2istio"}}], "rules[0]"),
        ([{"keep": True}, {"drop": True}], "rules[0]"),
    ],
)
def test_rules_may_be_shadowed_by_several_and_by_drop(written: list[dict[str, Any]], by: str) -> None:
    last = len(written) - 1

    assert linted(*written) == [f"rules[{last}]: never decides anything, {by} decide it before"]


@pytest.mark.parametrize(
    "written",
    [
        [{"set": {"labels": {"a": "1"}}}, {"set": {"labels": {"a": "2", "b": "2"}}}],
        [{"set": {"weight": 1}}, {"set": {"weight": 2, "network": "y"}}],
        [{"match": {"service": "b"}, "keep": True}, {"drop": True}, {"set": {"weight": 1}}],
        [{"drop": True, "match": {"service": "b"}}, {"drop": True}],
    ],
)
def test_rules_that_still_decide_something_are_not_shadowed(written: list[dict[str, Any]]) -> None:
    assert linted(*written) == []


WORDS = st.sampled_from(["a", "ab", "b", "a*", "*", "?", "/a|b/", ""])
SERVICES = st.sampled_from(["a", "ab", "b", "c", ""])


@given(
    *[st.builds(lambda s, t, m: {"service": s, "tag": t, "metadata": {"k": m}}, WORDS, WORDS, WORDS)] * 2,
    SERVICES,
    st.lists(SERVICES, max_size=2),
    SERVICES,
)
def test_what_covers_matches_at_least_as_much(
    wide: dict[str, Any], narrow: dict[str, Any], service: str, tags: list[str], value: str
) -> None:
    made = Rules(rules({"match": wide, **SET}, {"match": narrow, **SET}), Defaults())
    instance = Instance("i", "10.0.0.1", tags=tuple(tags), metadata=labels({"k": value}))

    matched = made.for_group(group(ServiceKey("vms", service), [instance])).matching(instance)

    if covers(Match.model_validate(wide), Match.model_validate(narrow)) and 1 in matched:
        assert 0 in matched


def met(groups: list[InstanceGroup], *written: Mapping[str, Any]) -> list[str]:
    made = Mesh(Rules(rules(*written), Defaults()), ["vms", "zk"], GuardSettings())
    for found in groups:
        made.apply(found.key.source, made.catalog.compare([found]), 0.0)
    for _ in made.settle():
        pass
    return list(lint_met(made))


def service(source: str, name: str, port: int = 80) -> InstanceGroup:
    return group(ServiceKey(source, name), [Instance("i", f"10.0.0.{port}", (Port("x", port, "http"),))])


def test_rules_that_match_nothing_and_services_without_a_rule_are_told() -> None:
    groups = [service("vms", f"s{number}") for number in range(8)]

    found = met(groups, {"match": {"service": "s7"}, **SET}, {"name": "old", "match": {"tag": "x"}, **SET})

    assert found == [
        "rules[1] (old): matches nothing",
        "no rule matches vms/s0, vms/s1, vms/s2, vms/s3, vms/s4 and 2 more: the defaults decide",
    ]


def test_services_that_collide_in_one_host_are_told() -> None:
    groups = [service("vms", "shop", 80), service("zk", "SHOP", 81)]

    assert met(groups, {"set": {"host": "one.mesh"}}) == [
        "meshbridge/one.mesh: vms/shop, zk/SHOP collide, port x: 80 of vms/shop wins over 81 of zk/SHOP"
    ]


def test_services_of_one_source_that_collide_are_told() -> None:
    groups = [service("vms", "shop", 80), service("vms", "SHOP", 81)]

    assert met(groups, {"set": {"host": "one.mesh"}}) == [
        "meshbridge/one.mesh: vms/SHOP, vms/shop collide, port x: instances have ports 80, 81; "
        "the service gets 80: set `ports` in a rule"
    ]


def test_nothing_is_told_where_all_is_well() -> None:
    assert met([service("vms", "a")]) == []
    assert met([service("vms", "a")], SET) == []
