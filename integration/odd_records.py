"""Inventories full of odd values, some of which must be refused: the same ones for the same seed."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]

RULES: Sequence[Mapping[str, Any]] = (
    {"match": {"labels": {"mode": "workloads"}}, "set": {"endpoints": "workload_entries"}},
    {"match": {"labels": {"mode": "external"}}, "set": {"location": "MESH_EXTERNAL", "export_to": ["."]}},
    {"match": {"labels": {"mode": "dns"}}, "set": {"resolution": "DNS"}},
    {"match": {"labels": {"mode": "ports"}}, "set": {"ports": {"http": 80, "tcp": 81, "grpc": 82}}},
    {"match": {"labels": {"mode": "host"}}, "set": {"host": "{id}.{zone|nowhere}.example"}},
    {"match": {"labels": {"mode": "labels"}}, "set": {"labels": {"zone": "{zone}", "id": "{id}"}}},
    {"match": {"labels": {"mode": "account"}}, "set": {"service_account": "{metadata.document}"}},
    {"match": {"labels": {"mode": "locality"}}, "set": {"locality": "{service}/{zone}", "network": "{id}"}},
)
"""Further odd values, made of the others: the label `mode` of an instance chooses one rule."""

# fmt: off
_NAMES = [
    "shop", "Shop", "köln", "日本", "with space", "under_score", "dots.in.it", "sl/ash", "com.acme.Api:1.0",
    "-x-", "a..b", "localhost", "10.0.0.1", "7", "*", "*.wild", "trailing.", "e\u0301", "🦀", "xn--nxasmq6b",
    "%2F", "a" * 63, "b" * 64, "long-" * 40,
]
_HOSTS = [
    "shop.example", "UPPER.Example.COM", "*.wild.example", "*", "under_score.example", "ünï.example", "one",
    "1.2.3.4", "trailing.example.", "a..b", "x" * 64 + ".example", ".".join(["label"] * 60), "-bad.example",
    "{service}",
]
_NAMESPACES = ["legacy", "Legacy", "under_score", "with space", "x" * 64, "7", "kube-system", ".", "*"]
_SPECIAL = ["0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fe80::1"]
_WRONG = ["fe80::1%eth0", "10.0.0.01", "1.2.3", "", None, 7, "vm_1.example", "unix:///run/x", "*.x"]
_ADDRESSES: Sequence[Callable[[random.Random], object]] = (
    *[lambda chance: f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"] * 6,
    *[lambda chance: f"2001:db8::{chance.randrange(1, 65536):x}"] * 2,
    lambda chance: f"[2001:DB8:0:0::{chance.randrange(1, 65536):X}]",
    lambda chance: f"::ffff:10.0.0.{chance.randrange(1, 255)}",
    lambda chance: f"vm-{chance.randrange(1000)}.Example.com.",
    lambda chance: chance.choice(_SPECIAL),
    lambda chance: chance.choice(_WRONG),
)
_PORTS = [*[8080, 80, 9090, "9090", 1, 65535] * 5, 0, 70000, -1, 80.5, None, "http"]
_PORT_NAMES = [
    "http", "tcp", "grpc", "HTTP-Admin", "grpc-web-1", "mongo", "9", "a" * 63, "b" * 64, "my_port", "", "ü",
]
_PROTOCOLS = [
    "http", "HTTP", "grpc", "grpc-web", "tcp", "udp", "tls", "https", "mongo", "redis", "mysql", "dubbo",
    "thrift", "tri", "h2c", "http_proxy", "quic", "ünï", "two words", "", None, 7,
]
_KEYS = [
    "app", "a.b/c", "A_b", "k" * 63, "k" * 64, "p" * 250 + "/k", "/k", "a//b", "ü", "", "*", "istio",
    "istio.io/rev", "security.istio.io/tlsMode", "topology.istio.io/network", "meshbridge.io/service",
]
_VALUES = ["v1", "", "V_1.x-y", "-x", "v" * 63, "v" * 64, "ü", "a b", "istio", "disabled", True, 7, None, "*"]
_WORDS = ["eu", "eu-1a", "eu/1/a/b/c", "/", "//", "*", "ü", "a b", "", "z" * 300, None, 7, "\u200b", "tab\t"]
_WEIGHTS = [None, None, 0, 1, 3, "5", 100, 999_999_999, 10**10, -1, 1.5, "x", True]
_ACCOUNTS = [None, "shop", "Shop", "a/b", "../../other/sa/x", "spiffe://x/ns/y/sa/z", "a b", "s" * 300, "ü"]
_HEALTH = [None, None, None, "ready", "unknown", "unready", "draining", "READY", "odd"]
_MODES = [None, "workloads", "external", "dns", "ports", "host", "labels", "account", "locality"]
# fmt: on


def services(seed: int, count: int) -> list[Record]:
    """Return so many services with up to four instances each."""
    chance = random.Random(seed)
    return [_service(chance, number) for number in range(count)]


def _service(chance: random.Random, number: int) -> Record:
    name = chance.choice(_NAMES)
    service: Record = {
        # Some names are there several times, and some differ in what no host name can keep apart.
        "name": name if chance.random() < 0.1 else f"{name}{number}",
        "protocol": chance.choice(_PROTOCOLS),
        "labels": {"mode": chance.choice(_MODES)},
        "instances": [_instance(chance) for _ in range(chance.randrange(5))],
    }
    if chance.random() < 0.2:
        service["host"] = chance.choice(_HOSTS)
    if chance.random() < 0.2:
        service["namespace"] = chance.choice(_NAMESPACES)
    return service


def _instance(chance: random.Random) -> Record:
    """Return an instance with an address, a port, and one or two odd things."""
    found: Record = {"address": chance.choice(_ADDRESSES)(chance), "port": chance.choice(_PORTS)}
    odd: Mapping[str, Callable[[], object]] = {
        "ports": lambda: {chance.choice(_PORT_NAMES): chance.choice(_PORTS) for _ in range(3)},
        "labels": lambda: {chance.choice(_KEYS): chance.choice(_VALUES) for _ in range(4)},
        "version": lambda: chance.choice(_VALUES),
        "zone": lambda: chance.choice(_WORDS),
        "region": lambda: chance.choice(_WORDS),
        "network": lambda: chance.choice(_WORDS),
        "weight": lambda: chance.choice(_WEIGHTS),
        "service_account": lambda: chance.choice(_ACCOUNTS),
        "health": lambda: chance.choice(_HEALTH),
        "protocol": lambda: chance.choice(_PROTOCOLS),
    }
    for field in chance.sample(sorted(odd), chance.randrange(3)):
        found[field] = odd[field]()
    return found
