"""Rules that change providers: whom they are for, and what they set."""

import pytest

from meshbridge.adapters.zookeeper.layouts import dubbo_rules, dubbo_url
from meshbridge.adapters.zookeeper.layouts.dubbo_rules import Provider
from meshbridge.adapters.zookeeper.layouts.fields import Refused

ORDERS = {"application": "orders", "group": "blue", "version": "1.2.0"}


def provider(host: str = "10.4.0.7", **parameters: str) -> Provider:
    return Provider(host, 20880, "com.acme.X", ORDERS | parameters)


def after_url(url: str, subject: Provider) -> dict[str, str]:
    rule = dubbo_rules.of_url(dubbo_url.parse(url))
    found = dict(dubbo_rules.apply([rule] if rule else [], subject))
    return {key: value for key, value in found.items() if key not in ORDERS}


def after_yaml(text: str, subject: Provider) -> dict[str, str]:
    found = dict(dubbo_rules.apply(dubbo_rules.of_yaml(text.encode()), subject))
    return {key: value for key, value in found.items() if key not in ORDERS}


SAME = "group=blue&version=1.2.0"


@pytest.mark.parametrize(
    ("url", "changes"),
    [
        (f"override://0.0.0.0/x?{SAME}&weight=5", True),
        (f"override://0.0.0.0:20880/x?{SAME}&weight=5", True),
        (f"override://0.0.0.0:20881/x?{SAME}&weight=5", False),
        (f"override://10.4.0.7:20880/x?{SAME}&weight=5", True),
        (f"override://10.4.0.8:20880/x?{SAME}&weight=5", False),
        (f"override://10.4.0.7/x?{SAME}&weight=5", False),  # A host without a port is a consumer.
        ("override://0.0.0.0/x?group=*&version=*&weight=5", True),
        ("override://0.0.0.0/x?weight=5", False),  # It is for the service without group and version.
        ("override://0.0.0.0/x?group=green&version=1.2.0&weight=5", False),
        (f"override://0.0.0.0/x?{SAME}&enabled=false&weight=5", False),
        (f"override://0.0.0.0/x?{SAME}&side=consumer&weight=5", False),
        (f"override://0.0.0.0/x?{SAME}&application=orders&weight=5", True),
        (f"override://0.0.0.0/x?{SAME}&application=other&weight=5", False),
        (f"override://0.0.0.0/x?{SAME}&~dubbo.tag=gray&weight=5", False),
        (f"absent://0.0.0.0/x?{SAME}&weight=5", True),
        (f"override:///x?{SAME}&weight=5", False),
        ("empty://0.0.0.0/x?category=configurators", False),
    ],
)
def test_an_override_is_for_whom_it_says(url: str, changes: bool) -> None:
    assert after_url(url, provider()) == ({"weight": "5"} if changes else {})


def test_an_override_for_an_ipv6_address() -> None:
    url = f"override://fd00:0:0:0:0:0:0:7:20880/x?{SAME}&weight=5"

    assert after_url(url, provider("fd00:0:0:0:0:0:0:7")) == {"weight": "5"}


def test_absent_sets_only_what_is_missing() -> None:
    assert after_url(f"absent://0.0.0.0/x?{SAME}&weight=5", provider(weight="100")) == {"weight": "100"}


def test_a_rule_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Refused, match="condition"):
        dubbo_rules.of_url(dubbo_url.parse("condition://0.0.0.0/x?rule=a"))


def test_applying_a_rule_again_changes_nothing() -> None:
    once = after_url(f"override://0.0.0.0/x?{SAME}&weight=50&disabled=true", provider())

    assert after_url(f"override://0.0.0.0/x?{SAME}&weight=50&disabled=true", provider(**once)) == once


def config(conditions: str, head: str = "scope: service\nkey: blue/com.acme.X:1.2.0\n") -> str:
    return (
        f"configVersion: v2.7\n{head}configs:\n- {conditions}\n  parameters: {{weight: 5, disabled: true}}\n"
    )


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (config("side: provider"), True),
        (config("side: consumer"), False),
        (config("enabled: false"), False),
        (config("side: provider", "enabled: false\n"), False),
        (config("side: provider", "key: com.acme.X\n"), True),  # As 2.7 writes it.
        (config("side: provider", "key: green/com.acme.X:1.2.0\n"), False),
        (config("side: provider", "key: com.acme.Y\n"), False),
        (config("side: provider", "scope: application\nkey: orders\n"), True),
        (config("addresses: ['10.4.0.7:20880']"), True),
        (config("addresses: ['10.4.0.7']"), True),
        (config("addresses: ['10.4.0.7:20881', '10.4.0.8']"), False),
        (config("addresses: ['0.0.0.0']"), True),
        (config("addresses: ['0.0.0.0:20880']"), True),
        (config("addresses: ['10.4.0.*']"), True),
        (config("addresses: ['10.5.?.*']"), False),
        (config("addresses: [{a: b}]"), False),
        (config("providerAddresses: ['10.4.0.8:20880']"), False),
        (config("applications: [orders]"), True),
        (config("applications: [other]"), False),
        (config("applications: ['*']"), True),
        (config("services: ['com.acme.X']"), True),
        (config("services: ['*']"), True),
        (config("services: ['com.acme.Y']"), False),
        (config("match: {address: {cidr: 10.4.0.0/24}}"), True),
        (config("match: {address: {cidr: 10.5.0.0/24}}"), False),
        (config("match: {address: {cidr: x/y}}"), False),
        (config("match: {address: {wildcard: '10.4.*'}}"), True),
        (config("match: {address: 5}"), False),
        (config("match: {app: {oneof: [{exact: other}, {prefix: ord}]}}"), True),
        (config("match: {app: {oneof: [{regex: .*}]}}"), False),
        (config("match: {app: 5}"), False),
        (config("match: {service: {oneof: [{exact: com.acme.X}]}}"), True),
        (config("match: {param: [{key: version, value: {exact: 1.2.0}}]}"), True),
        (config("match: {param: [{key: version, value: {exact: 1.3.0}}]}"), False),
        ("configs: [{side: provider}]", False),
        ("configs: []", False),
        ("scope: service", False),
    ],
)
def test_a_yaml_rule_is_for_whom_it_says(text: str, changes: bool) -> None:
    assert after_yaml(text, provider()) == ({"weight": "5", "disabled": "true"} if changes else {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "5",
        "configs: 5",
        "configs: [{applications: x, parameters: {a: b}}]",
        "a: &x {}\nb: {<<: *x}",
        "#" * 300_000,
        "- " * 3000 + "x",
        "\x00",
        "a: !!timestamp x",
        "a: !!bool x",
        "a: !!python/object/apply:os.system [id]",
    ],
    ids=lambda text: text[:20],
)
def test_a_yaml_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        dubbo_rules.of_yaml(text.encode())
