"""Each row: what an endpoint or a group has, and the field and severity found, None when it is accepted."""

import msgspec
import pytest

from meshbridge.schemas.istio import (
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    ObjectMeta,
    ReadinessProbe,
    Resolution,
    TCPSocketAction,
    WorkloadEntry,
    WorkloadGroup,
)
from meshbridge.schemas.resource import Kind
from meshbridge.schemas.validation import TLS_MODE, Severity, validate, validate_endpoint

ERROR, WARNING = Severity.ERROR, Severity.WARNING
VALID = WorkloadEntry(address="10.0.0.1")


def found(kind, spec, labels=()):
    problems = validate(kind, "legacy", "orders", spec, labels)
    return [(problem.severity, problem.field) for problem in problems]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # the address
        ({"address": "10.0.0.1"}, None),
        ({"address": "255.255.255.255"}, None),
        ({"address": "2001:db8::1"}, None),
        ({"address": "::ffff:10.0.0.1"}, None),
        ({"address": "vm-1.example.com"}, None),
        ({"address": "vm-1"}, None),
        ({"address": "unix:///run/app.sock"}, None),
        ({"address": "unix://@app"}, None),
        ({"address": ""}, (ERROR, "address")),
        ({"address": "", "network": "eu"}, (WARNING, "address")),
        ({"address": "127.0.0.01"}, (ERROR, "address")),
        ({"address": "256.0.0.1"}, (ERROR, "address")),
        ({"address": "10.0.0.1:80"}, (ERROR, "address")),
        ({"address": "10.0.0.1 "}, (ERROR, "address")),
        ({"address": "10.0.0.1\n"}, (ERROR, "address")),
        ({"address": "[2001:db8::1]"}, (ERROR, "address")),
        ({"address": "fe80::1%eth0"}, (ERROR, "address")),
        ({"address": "vm_1"}, (ERROR, "address")),
        ({"address": "*.example.com"}, (ERROR, "address")),
        ({"address": "unix://run/app.sock"}, (ERROR, "address")),
        ({"address": "unix:///run/"}, (ERROR, "address")),
        ({"address": "unix://"}, (ERROR, "address")),
        ({"address": "unix:///" + "a" * 248}, None),
        ({"address": "unix:///" + "a" * 249}, (ERROR, "address")),
        # ports
        ({"ports": {"http": 1, "Tcp-1": 65535}}, None),
        ({"ports": {"http": 0}}, (ERROR, "ports[http]")),
        ({"ports": {"http": 65536}}, (ERROR, "ports[http]")),
        ({"ports": {"a_b": 1}}, (ERROR, "ports")),
        ({"ports": {"a" * 62: 1}}, None),
        ({"ports": {"a" * 63: 1}}, (ERROR, "ports")),
        ({"ports": {f"p{n}": 1 for n in range(128)}}, None),
        ({"ports": {f"p{n}": 1 for n in range(129)}}, (ERROR, "ports")),
        ({"ports": {"http": 1}, "address": "unix:///run/app.sock"}, (ERROR, "ports")),
        # labels
        ({"labels": {"app": "orders", "acme.io/Team_1": "", "v": "1.2-a_B"}}, None),
        ({"labels": {"": "a"}}, (ERROR, "labels")),
        ({"labels": {"-a": "a"}}, (ERROR, "labels")),
        ({"labels": {"a b": "a"}}, (ERROR, "labels")),
        ({"labels": {"a/b/c": "a"}}, (ERROR, "labels")),
        ({"labels": {"a" * 64: "a"}}, (ERROR, "labels")),
        ({"labels": {"a": "b c"}}, (ERROR, "labels[a]")),
        ({"labels": {"a": "-b"}}, (ERROR, "labels[a]")),
        ({"labels": {"a": "b" * 63}}, None),
        ({"labels": {"a": "b" * 64}}, (ERROR, "labels[a]")),
        ({"labels": {f"l{n}": "" for n in range(256)}}, None),
        ({"labels": {f"l{n}": "" for n in range(257)}}, (ERROR, "labels")),
        # places and weight
        ({"network": "n" * 2048, "locality": "eu/eu-1/r2"}, None),
        ({"network": "n" * 2049}, (ERROR, "network")),
        ({"locality": "n" * 2049}, (ERROR, "locality")),
        ({"locality": "eu\ud800"}, (ERROR, "locality")),
        ({"network": "eu\n"}, (ERROR, "network")),
        ({"weight": (1 << 32) - 1}, None),
        ({"weight": 1 << 32}, (ERROR, "weight")),
        ({"weight": -1}, (ERROR, "weight")),
        # identity
        ({"service_account": "orders.v1"}, None),
        ({"service_account": "a" * 253}, None),
        ({"service_account": "a" * 254}, (ERROR, "serviceAccount")),
        ({"service_account": "../../other/sa/x"}, (ERROR, "serviceAccount")),
        ({"service_account": "spiffe://x"}, (ERROR, "serviceAccount")),
        ({"service_account": "a b"}, (ERROR, "serviceAccount")),
        ({"service_account": "a", "labels": {TLS_MODE: "istio"}}, None),
        ({"labels": {TLS_MODE: "disabled"}}, None),
        ({"labels": {TLS_MODE: "istio"}}, (ERROR, f"labels[{TLS_MODE}]")),
    ],
)
def test_workload_entry(changes, expected) -> None:
    spec = msgspec.structs.replace(VALID, **changes)

    problems = found(Kind.WORKLOAD_ENTRY, spec)

    assert expected in problems if expected else problems == []


def test_labels_of_the_object_override_the_tls_mode_of_the_workload() -> None:
    mutual = WorkloadEntry(address="10.0.0.1", labels={TLS_MODE: "istio"})

    assert found(Kind.WORKLOAD_ENTRY, mutual, {TLS_MODE: "disabled"}) == []
    assert found(Kind.WORKLOAD_ENTRY, VALID, {TLS_MODE: "istio"}) == [(ERROR, f"labels[{TLS_MODE}]")]


@pytest.mark.parametrize(
    ("address", "resolution", "ports_count", "accepted"),
    [
        ("10.0.0.1", Resolution.STATIC, 2, True),
        ("vm.example.com", Resolution.STATIC, 1, False),
        ("vm.example.com", Resolution.DNS, 2, True),
        ("10.0.0.1", Resolution.DNS_ROUND_ROBIN, 0, True),
        ("unix://@app", Resolution.DNS, 1, False),
        ("unix://@app", Resolution.STATIC, 1, True),
        ("unix://@app", Resolution.STATIC, 0, False),
        ("unix://@app", Resolution.STATIC, 2, False),
        ("no_host", Resolution.DNS, 1, False),
    ],
)
def test_endpoint_address_fits_the_resolution(address, resolution, ports_count, accepted) -> None:
    problems = validate_endpoint(WorkloadEntry(address=address), resolution, (), ports_count)

    assert (problems == []) is accepted


def test_endpoint_may_only_use_ports_of_the_service() -> None:
    endpoint = WorkloadEntry(address="10.0.0.1", ports={"http": 8080, "web": 8081})

    problems = validate_endpoint(endpoint, Resolution.STATIC, ["http", "grpc"], 2)

    assert [problem.field for problem in problems] == ["ports[web]"]
    assert "http, grpc" in problems[0].text


def test_endpoint_with_mutual_tls_needs_an_identity_of_its_own_or_of_the_service() -> None:
    endpoint = WorkloadEntry(address="10.0.0.1", labels={TLS_MODE: "istio"})

    assert validate_endpoint(endpoint, Resolution.STATIC, (), 1)
    assert not validate_endpoint(endpoint, Resolution.STATIC, (), 1, has_subject_alt_names=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"template": WorkloadEntry()}, None),
        ({"template": WorkloadEntry(address="vm")}, None),
        ({"template": WorkloadEntry(address="v_m")}, (ERROR, "template.address")),
        ({"template": WorkloadEntry(service_account="a b")}, (ERROR, "template.serviceAccount")),
        ({"template": WorkloadEntry(ports={"http": 0})}, (ERROR, "template.ports[http]")),
        ({"metadata": ObjectMeta(labels={"app": "a"}, annotations={"Acme.io/x": "Any thing"})}, None),
        ({"metadata": ObjectMeta(labels={"a b": "a"})}, (ERROR, "metadata.labels")),
        ({"metadata": ObjectMeta(annotations={"a b": "a"})}, (ERROR, "metadata.annotations")),
        (
            {"metadata": ObjectMeta(annotations={f"a{n}": "" for n in range(257)})},
            (ERROR, "metadata.annotations"),
        ),
        ({"probe": ReadinessProbe(period_seconds=1)}, None),
        ({"probe": ReadinessProbe(initial_delay_seconds=-1)}, (ERROR, "probe.initialDelaySeconds")),
        ({"probe": ReadinessProbe(timeout_seconds=-1)}, (ERROR, "probe.timeoutSeconds")),
        ({"probe": ReadinessProbe(period_seconds=-1)}, (ERROR, "probe.periodSeconds")),
        ({"probe": ReadinessProbe(success_threshold=-1)}, (ERROR, "probe.successThreshold")),
        ({"probe": ReadinessProbe(failure_threshold=1 << 31)}, (ERROR, "probe.failureThreshold")),
        ({"probe": ReadinessProbe(http_get=HTTPGetAction(port=80, scheme="HTTPS"))}, None),
        ({"probe": ReadinessProbe(http_get=HTTPGetAction(port=0))}, (ERROR, "probe.httpGet.port")),
        (
            {"probe": ReadinessProbe(http_get=HTTPGetAction(port=80, scheme="https"))},
            (ERROR, "probe.httpGet.scheme"),
        ),
        (
            {
                "probe": ReadinessProbe(
                    http_get=HTTPGetAction(port=80, http_headers=(HTTPHeader("X-a_1", ":"),))
                )
            },
            None,
        ),
        (
            {"probe": ReadinessProbe(http_get=HTTPGetAction(port=80, http_headers=(HTTPHeader("a b", ""),)))},
            (ERROR, "probe.httpGet.httpHeaders[0].name"),
        ),
        ({"probe": ReadinessProbe(tcp_socket=TCPSocketAction(port=65535))}, None),
        ({"probe": ReadinessProbe(tcp_socket=TCPSocketAction(port=0))}, (ERROR, "probe.tcpSocket.port")),
        ({"probe": ReadinessProbe(exec=ExecAction(("true",)))}, None),
        ({"probe": ReadinessProbe(exec=ExecAction())}, (ERROR, "probe.exec.command")),
        ({"probe": ReadinessProbe(exec=ExecAction(("a", "")))}, (ERROR, "probe.exec.command")),
        ({"probe": ReadinessProbe(grpc=GRPCAction(port=80))}, (ERROR, "probe.grpc")),
        (
            {"probe": ReadinessProbe(exec=ExecAction(("a",)), tcp_socket=TCPSocketAction(port=1))},
            (ERROR, "probe.httpGet"),
        ),
    ],
)
def test_workload_group(changes, expected) -> None:
    spec = msgspec.structs.replace(WorkloadGroup(template=WorkloadEntry()), **changes)

    problems = found(Kind.WORKLOAD_GROUP, spec)

    assert expected in problems if expected else problems == []
