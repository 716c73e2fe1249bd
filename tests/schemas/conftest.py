"""Generated specs: any that can be written down, and valid ones."""

from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from typing_extensions import override

from meshbridge.schemas.istio import (
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    Location,
    ObjectMeta,
    ReadinessProbe,
    Resolution,
    ServiceEntry,
    ServicePort,
    Spec,
    TCPSocketAction,
    WorkloadEntry,
    WorkloadGroup,
    WorkloadSelector,
)
from meshbridge.schemas.resource import Kind

Specs = Mapping[Kind, st.SearchStrategy[Spec]]


class SpecStrategies(NamedTuple):
    """Strategies for specs of each kind."""

    any: Specs
    """Whatever the messages can hold."""
    prefix_free: Specs
    """The same, but no key of a map begins another: see the test that needs it."""
    valid: Specs
    """What validation accepts."""

    @override
    def __repr__(self) -> str:
        return "..."  # Hypothesis prints the arguments of a failing test.


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
LONG_TEXTS = st.text("aé€", min_size=120, max_size=140)
NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 32) - 1))
SIGNED = st.one_of(st.integers(0, 3), st.integers(-(1 << 31), (1 << 31) - 1))
PREFIX_FREE = st.text("abz-é€", max_size=5).map("{}|".format)


def several(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


def optional(items: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), items)


def any_specs(keys: st.SearchStrategy[str]) -> Specs:
    maps = st.dictionaries(keys, st.one_of(TEXTS, LONG_TEXTS), max_size=4)
    workloads = st.builds(
        WorkloadEntry,
        address=TEXTS,
        ports=st.dictionaries(keys, NUMBERS, max_size=3),
        labels=maps,
        network=TEXTS,
        locality=TEXTS,
        weight=NUMBERS,
        service_account=LONG_TEXTS,
    )
    ports = st.builds(ServicePort, number=NUMBERS, name=TEXTS, protocol=TEXTS, target_port=NUMBERS)
    services = st.builds(
        ServiceEntry,
        hosts=several(TEXTS),
        location=st.sampled_from(Location),
        resolution=st.sampled_from(Resolution),
        addresses=several(TEXTS),
        ports=several(ports),
        endpoints=several(workloads),
        export_to=several(TEXTS),
        subject_alt_names=several(TEXTS),
        workload_selector=optional(st.builds(WorkloadSelector, labels=maps)),
    )
    headers = several(st.builds(HTTPHeader, name=TEXTS, value=TEXTS))
    actions = st.one_of(
        st.just({}),
        st.fixed_dictionaries(
            {
                "http_get": st.builds(
                    HTTPGetAction, port=NUMBERS, path=TEXTS, host=TEXTS, scheme=TEXTS, http_headers=headers
                )
            }
        ),
        st.fixed_dictionaries({"tcp_socket": st.builds(TCPSocketAction, port=NUMBERS, host=TEXTS)}),
        st.fixed_dictionaries({"exec": st.builds(ExecAction, command=several(TEXTS))}),
        st.fixed_dictionaries({"grpc": st.builds(GRPCAction, port=NUMBERS, service=TEXTS)}),
    )
    times = st.fixed_dictionaries(
        {},
        optional={
            "initial_delay_seconds": SIGNED,
            "timeout_seconds": SIGNED,
            "period_seconds": SIGNED,
            "success_threshold": SIGNED,
            "failure_threshold": SIGNED,
        },
    )
    probes = st.builds(lambda times, action: ReadinessProbe(**times, **action), times, actions)
    groups = st.builds(
        WorkloadGroup,
        template=workloads,
        metadata=optional(st.builds(ObjectMeta, labels=maps, annotations=maps)),
        probe=optional(probes),
    )
    return {Kind.SERVICE_ENTRY: services, Kind.WORKLOAD_ENTRY: workloads, Kind.WORKLOAD_GROUP: groups}


def valid_specs() -> Specs:
    labels = st.dictionaries(
        st.sampled_from(["app", "version", "acme.io/team", "Env_1"]),
        st.sampled_from(["", "v1", "1e3", "y", "no", "0x1F", "1_000", "a.b-c"]),
        max_size=3,
    )
    names = st.sampled_from(["http", "tcp-1", "y"])
    workloads = st.builds(
        WorkloadEntry,
        address=st.sampled_from(["10.0.0.1", "2001:db8::7", "192.0.2.200"]),
        ports=st.dictionaries(names, st.integers(1, 65535), max_size=2),
        labels=labels,
        network=st.sampled_from(["", "eu"]),
        locality=st.sampled_from(["", "eu/eu-1/r2"]),
        weight=NUMBERS,
        service_account=st.sampled_from(["", "orders", "a.b"]),
    )
    ports = st.fixed_dictionaries(
        {"http": st.just(80), "tcp-1": st.just(90), "y": st.just(7)}, optional={"x": st.just(1)}
    ).map(lambda found: tuple(ServicePort(number=n, name=name, protocol="TCP") for name, n in found.items()))
    services = st.builds(
        ServiceEntry,
        hosts=st.sampled_from([("orders.mesh",), ("1.2.mesh",)]),
        location=st.sampled_from(Location),
        resolution=st.sampled_from([Resolution.STATIC, Resolution.DNS]),
        addresses=st.sampled_from([(), ("240.0.0.1",), ("2001:db8::1",)]),
        ports=ports,
        endpoints=st.lists(workloads, max_size=3).map(tuple),
        export_to=st.sampled_from([(), ("*",), (".", "other")]),
        subject_alt_names=st.sampled_from([(), ("spiffe://cluster.local/ns/a/sa/b",)]),
    )
    probes = st.one_of(
        st.just(ReadinessProbe(period_seconds=5)),
        st.just(ReadinessProbe(http_get=HTTPGetAction(80, "/ok", http_headers=(HTTPHeader("A-b", "c"),)))),
        st.just(ReadinessProbe(tcp_socket=TCPSocketAction(port=80, host="10.0.0.1"))),
        st.just(ReadinessProbe(exec=ExecAction(command=("true",)), failure_threshold=3)),
    )
    groups = st.builds(
        WorkloadGroup,
        template=workloads,
        metadata=optional(
            st.builds(ObjectMeta, labels=labels, annotations=st.dictionaries(st.just("a/b"), TEXTS))
        ),
        probe=optional(probes),
    )
    return {Kind.SERVICE_ENTRY: services, Kind.WORKLOAD_ENTRY: workloads, Kind.WORKLOAD_GROUP: groups}


@pytest.fixture(scope="session")
def spec_strategies() -> SpecStrategies:
    return SpecStrategies(any=any_specs(TEXTS), prefix_free=any_specs(PREFIX_FREE), valid=valid_specs())
