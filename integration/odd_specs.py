"""ServiceEntries and WorkloadEntries of which some are valid and some are not: the same for the same seed."""

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort, WorkloadEntry
from meshbridge.schemas.istio import WorkloadSelector as Selector

# fmt: off
_HOSTS = [
    ("shop.example",), ("shop",), ("*.example",), ("UPPER.example",), ("a.example", "b.example"), (), ("",),
    ("x.example.",), ("*",), ("1.2.3.4",), ("under_score.example",), ("-a.example",), ("a..b",), ("x" * 64,),
    ("a.*.b",), ("a-*.example",), ("*a.example",), ("ü.example",), ("example.7",), ("a" * 63 + ".example",),
]
_ADDRESSES = [
    (), ("10.0.0.1",), ("10.0.0.0/8",), ("2001:db8::1",), ("10.0.0.1/33",), ("vm.example",), ("10.0.0.01",),
    ("2001:db8::/32",), ("10.0.0.1/8",), ("",), ("241.7.8.9",), ("241.7.8.9", "241.7.8.10"), ("241.7.8.256",),
]
_PROTOCOLS = [
    "HTTP", "http", "TCP", "", "GRPC", "GRPC-Web", "TLS", "UDP", "HTTP_PROXY", "dubbo", "Thrift", "MySQL",
    "HTTP2", "HTTPS", "MONGO", "REDIS", "auto", "tri",
]
_PORT_NAMES = ["http", "HTTP", "a" * 63, "a" * 64, "", "my_port", "-a", "9", "ü"]
_NUMBERS = [80, 8080, 443, 1, 65535, 65536, 0]
_PLACES = [
    "10.0.0.1", "2001:db8::1", "fe80::1%eth0", "vm.example", "VM.Example", "vm.example.", "10.0.0.01", "",
    "unix:///run/x.sock", "unix://@abstract", "unix://relative", "*.example", "1.2.3", "under_score", "::1",
]
_LABELS: Sequence[dict[str, str]] = [
    {}, {"app": "x"}, {"a.b/c": "V_1.x"}, {"": "x"}, {"k" * 64: "x"}, {"app": "v" * 64}, {"app": "-x"},
    {"*": "x"}, {"/k": "x"}, {"a": ""}, {"app": "ü"}, {"a b": "c"}, {"security.istio.io/tlsMode": "istio"},
    {"security.istio.io/tlsMode": "disabled"}, {"istio.io/draining": "true"}, {"meshbridge.io/source": "vms"},
    {"version": "v1"}, {"version": "v 1"},
]
_LOCALITIES = ["", "eu", "eu/1/a", "eu/1/a/b", "/", "*", "/eu-1a", "eu//a"]
_EXPORTS = [
    (), (".",), ("*",), ("~",), ("legacy",), (".", "legacy"), (".", "*"), (".", "."), ("under_score",), ("",),
]
_SELECTORS = [
    None, Selector({"app": "x"}), Selector({}), Selector({"": "x"}), Selector({"app": "*"}),
    Selector({"app": "v" * 64}), Selector({"a b": "c"}),
]
_NAMES = [
    (), ("spiffe://cluster.local/ns/a/sa/b",), ("",), ("two words",),
    ("spiffe://cluster.local/ns/a/sa/old", "spiffe://cluster.local/ns/a/sa/new"),
]
_ACCOUNTS = ["", "shop", "shop.v2", "../../other/sa/x", "spiffe://a/b", "a" * 254, "Shop"]
_OBJECT_LABELS: Sequence[dict[str, str]] = [
    {}, {}, {"istio.io/rev": "blue"}, {"istio.io/rev": "blue green"}, {"istio.io/rev": ""}, {"a b": "c"},
]
# fmt: on


def workload_entries(seed: int, count: int) -> list[WorkloadEntry]:
    """Return so many WorkloadEntries, each with at most two odd values."""
    chance = random.Random(seed)
    return [_workload(chance, odd=chance.randrange(3)) for _ in range(count)]


def service_entries(seed: int, count: int) -> list[ServiceEntry]:
    """Return so many ServiceEntries, each with at most two odd values."""
    chance = random.Random(seed)
    return [_service(chance) for _ in range(count)]


def object_labels(seed: int, count: int) -> list[dict[str, str]]:
    """Return the labels of so many objects."""
    chance = random.Random(seed)
    return [chance.choice(_OBJECT_LABELS) for _ in range(count)]


def _service(chance: random.Random) -> ServiceEntry:
    resolution = chance.choice([Resolution.STATIC] * 4 + list(Resolution))
    entry = ServiceEntry(
        hosts=("shop.example",),
        location=chance.choice(list(Location)),
        resolution=resolution,
        ports=(ServicePort(number=80, name="http", protocol="HTTP"),),
        endpoints=tuple(_workload(chance, odd=0) for _ in range(chance.choice([0, 1, 1, 2]))),
    )
    odd: Mapping[str, Callable[[], object]] = {
        "hosts": lambda: chance.choice(_HOSTS),
        "addresses": lambda: chance.choice(_ADDRESSES),
        "ports": lambda: _ports(chance),
        "endpoints": lambda: tuple(_workload(chance, odd=1) for _ in range(chance.randrange(3))),
        "export_to": lambda: chance.choice(_EXPORTS),
        "workload_selector": lambda: chance.choice(_SELECTORS),
        "subject_alt_names": lambda: chance.choice(_NAMES),
    }
    fields = chance.sample(sorted(odd), chance.randrange(3))
    return msgspec.structs.replace(entry, **{field: odd[field]() for field in fields})


def _ports(chance: random.Random) -> tuple[ServicePort, ...]:
    return tuple(
        ServicePort(
            number=chance.choice(_NUMBERS),
            name=chance.choice(_PORT_NAMES),
            protocol=chance.choice(_PROTOCOLS),
            target_port=chance.choice([0, 0, 8080, 65536]),
        )
        for _ in range(chance.randrange(3))
    )


def _workload(chance: random.Random, *, odd: int) -> WorkloadEntry:
    choices: Mapping[str, Callable[[], object]] = {
        "address": lambda: chance.choice(_PLACES),
        "ports": lambda: {chance.choice(_PORT_NAMES): chance.choice(_NUMBERS)},
        "labels": lambda: chance.choice(_LABELS),
        "network": lambda: chance.choice(["", "dc-1", "with space"]),
        "locality": lambda: chance.choice(_LOCALITIES),
        "weight": lambda: chance.choice([0, 1, 2**31, 2**32 - 1]),
        "service_account": lambda: chance.choice(_ACCOUNTS),
    }
    fields = chance.sample(sorted(choices), odd)
    entry = WorkloadEntry(address="10.0.0.1")
    return msgspec.structs.replace(entry, **{field: choices[field]() for field in fields})
